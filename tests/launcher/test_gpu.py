"""GPUs are shared out evenly, and given back by processes that die."""

import subprocess
import sys
from pathlib import Path

import pytest

from medrobust.launcher.gpu import visible_gpus

CLAIM = """
import os, sys
from medrobust.launcher.gpu import claim
claim(sys.argv[2:], sys.argv[1])
claim(["other"], sys.argv[1])
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""


def worker(folder: Path, *gpus: str) -> tuple[str, subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(folder), *gpus],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process.stdout.readline().strip(), process


def test_the_least_used_gpu_is_taken(tmp_path: Path) -> None:
    workers = [worker(tmp_path, "2", "GPU-ab/c") for _ in range(5)]
    try:
        assert [gpu for gpu, _ in workers] == ["2", "GPU-ab/c", "2", "GPU-ab/c", "2"]
        workers[1][1].kill()
        workers[1][1].wait()
        workers.append(worker(tmp_path, "2", "GPU-ab/c"))
        assert workers[-1][0] == "GPU-ab/c"
    finally:
        for _, process in workers:
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    ("named", "expected"), [("0,2", ("0", "2")), ("", ()), ("GPU-1, GPU-2", ("GPU-1", "GPU-2"))]
)
def test_the_users_choice_of_gpus_holds(
    named: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == expected
