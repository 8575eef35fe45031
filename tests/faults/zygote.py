"""A process that has everything imported and loaded, and forks the ones that are to die.

`python zygote.py ROOT`; then JSON lines on stdin, one answer each on stdout:
{"overrides": [...], "log": path, "journal": path, ...} starts evaluate.py -> {"pid": n};
{"wait": pid} -> {"status": exit status, negative for a signal}.
"""

import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve()
EVALUATE = HERE.parents[2] / "evaluate.py"
LIMIT_S = 120


def main() -> None:
    root = Path(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Hydra logs to stdout
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[2])]
    import victims

    from tests.faults.sweeps import MATRIX
    from tests.support.compositions import compositions_remembered

    with compositions_remembered():
        common = victims.make(root)
        # Children inherit the caches of data and victim, what is imported and composed here, and
        # the kernels compiled for these shapes.
        warm = [*MATRIX, *common, f"paths.outputs={root / 'warm'}"]
        assert evaluate(warm) == 0
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page that it looks at
        print(json.dumps({"common": common}), file=channel, flush=True)
        serve(channel)


def serve(channel: TextIO) -> None:
    """Answer every request of stdin."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, how = os.waitpid(request["wait"], 0)
            answer = {"status": os.waitstatus_to_exitcode(how)}
        else:
            answer = {"pid": start(request)}
        print(json.dumps(answer), file=channel, flush=True)


def start(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        signal.alarm(LIMIT_S)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        inject(request)
        status = evaluate(request["overrides"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def inject(request: dict[str, Any]) -> None:
    import injection

    if "full" in request:
        injection.fill_disk(request["full"])
    if "slow" in request:
        injection.slow(request["slow"])
    gate = request.get("gate")
    journal = injection.Journal(
        Path(request["journal"]),
        request.get("kill_at"),
        request.get("share", 1.0),
        None if gate is None else Path(gate),
    )
    injection.watch(journal)


def evaluate(overrides: list[str]) -> int:
    """evaluate.py as its command line runs it; the exit status."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    sys.argv = [str(EVALUATE), *overrides]
    try:
        runpy.run_path(str(EVALUATE), run_name="__main__")
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


if __name__ == "__main__":
    main()
