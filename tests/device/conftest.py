"""The device of this suite, `DEVICE=fake|cuda`, and the table of what ran on it."""

import os
from collections import Counter
from collections.abc import Callable
from shutil import which

import pytest
import torch

ENTRY = "entry"
"""Name of the property by which a test enters its config into the table."""


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave out what is not run: listing the configs builds some of them."""
    return True if "not device" in (config.getoption("markexpr") or "") else None


class Entry:
    """The line of the table that a test counts in.

    Args:
        record: records a property of the test.
    """

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def __call__(self, group: str, case: str) -> None:
        """Name the group of configs and the case."""
        self._record(ENTRY, [group, case])

    def refused(self, why: object) -> None:
        """Note that the config does not take the case, on the CPU as on the device."""
        self._record("refused", str(why))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The fake device, or with `DEVICE=cuda` the first GPU."""
    name = os.environ.get("DEVICE", "fake")
    if name == "fake":
        missing = [tool for tool in (os.environ.get("CXX", "c++"), "ninja") if not which(tool)]
        if missing:
            pytest.exit(f"DEVICE=fake is compiled with {' and '.join(missing)}: not found", 4)
        from tests.support.device.fake import fake_device

        return fake_device()
    if name != "cuda":
        pytest.exit(f"DEVICE={name}, expected fake or cuda", 4)
    if not torch.cuda.is_available():
        pytest.exit("DEVICE=cuda, but PyTorch finds no GPU; set DEVICE=fake", 4)
    torch.backends.cudnn.allow_tf32 = False  # or convolutions keep ten bits
    return torch.device("cuda", 0)


@pytest.fixture
def entry(record_property: Callable[[str, object], None]) -> Entry:
    """Enter this test into the table."""
    return Entry(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table: a line for each group and case, its configs by outcome."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            found = dict(getattr(report, "user_properties", ()))
            if ENTRY in found:
                column = "refused" if outcome == "passed" and "refused" in found else outcome
                counts.setdefault(tuple(found[ENTRY]), Counter())[column] += 1
    if not counts:
        return
    terminalreporter.section(f"device {os.environ.get('DEVICE', 'fake')}")
    columns = ("passed", "refused", "skipped", "failed")
    terminalreporter.line(f"{'group':<12}{'case':<24}" + "".join(f"{c:>9}" for c in columns))
    for (group, case), found in sorted(counts.items()):
        numbers = "".join(f"{found[column]:>9}" for column in columns)
        terminalreporter.line(f"{group:<12}{case:<24}{numbers}")
