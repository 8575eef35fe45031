import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medrobust.devices import DevicesError, _processors, check_devices


@pytest.mark.skipif(torch.cuda.is_available(), reason="`auto` is a GPU here")
@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_no_more_processes_than_the_cpu_bears(accelerator: str) -> None:
    for devices in (1, 2, "2", _processors(), "auto"):
        check_devices(accelerator, devices)
    for devices in (99_999, "99999", 0, -1):
        with pytest.raises(DevicesError, match=f"trainer.devices={devices} .*expected 1 to"):
            check_devices(accelerator, devices)


CHILD = """
import os, sys, time
from medrobust.signals import end_with_launcher
end_with_launcher()
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = f"""
import os, subprocess, sys, time
from medrobust.signals import end_with_launcher
end_with_launcher()
subprocess.Popen([sys.executable, "-c", {CHILD!r}], env={{**os.environ, "LOCAL_RANK": "1"}})
time.sleep(60)
"""


def test_processes_of_a_training_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDROBUST_PARENT", raising=False)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while _alive(child) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _alive(child)


def _alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    if status.parent.parent.exists():
        return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
    return subprocess.run(["kill", "-0", str(process)], check=False).returncode == 0
