"""A run of the atlas keeps to its budget and publishes what is there."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import yaml

from medrobust.report.atlas import run as runner
from medrobust.report.atlas.config import AtlasError
from medrobust.report.bundle.bundle import NAME, read
from tests.report.atlas.test_atlas import ABOUT


@pytest.fixture
def atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two planned tables without rows; sweeps go to the folder of the test."""
    monkeypatch.setattr(runner, "SWEEPS", tmp_path / "sweeps")
    for name in ("a/one", "a/two"):
        (tmp_path / "atlas" / name).mkdir(parents=True)
        (tmp_path / "atlas" / name / "about.yaml").write_text(yaml.safe_dump(ABOUT))
    (tmp_path / "atlas" / "plan.yaml").write_text("tables: [a/one, a/two]\n")
    return tmp_path / "atlas"


class Fake:
    """Stands for the commands: every sweep leaves the two published rows."""

    def __init__(self, published: Callable[..., Path], sweeps: Path, training: int | None) -> None:
        self.published, self.sweeps, self.training = published, sweeps, training
        self.calls: list[list[str]] = []

    def __call__(self, words: Sequence[str], seconds: float) -> int | None:
        self.calls.append(list(words))
        assert seconds > 0
        if words[0] == "train":
            return self.training
        place = Path(words[-1].removeprefix("hydra.sweep.dir="))
        place.parent.mkdir(parents=True, exist_ok=True)
        self.published().rename(place)
        return 0


def test_it_trains_evaluates_and_publishes_in_the_plans_order(
    atlas: Path, published: Callable[..., Path], tmp_path: Path
) -> None:
    fake = Fake(published, tmp_path / "sweeps", training=0)
    assert runner.run(atlas, ["a/two"], 60, fake) == ["a/two: 2 of 2 cells"]
    train, evaluate = fake.calls
    assert train == ["train", "data=dermamnist"]
    assert evaluate[:4] == ["evaluate", "-m", "data=dermamnist", "attack=pgd,bim"]
    assert len(read(atlas / "a/two").sweep.rows) == 2
    assert "2 of 2 cells" in (atlas / "README.md").read_text()
    assert not (atlas / "a/one" / NAME).exists()


@pytest.mark.parametrize(
    ("status", "said"), [(None, "its training did not end"), (1, "its training failed")]
)
def test_a_table_without_its_victim_is_not_evaluated(
    atlas: Path, published: Callable[..., Path], tmp_path: Path, status: int | None, said: str
) -> None:
    fake = Fake(published, tmp_path / "sweeps", training=status)
    assert runner.run(atlas, [], 60, fake) == [f"a/one: {said}", f"a/two: {said}"]
    assert [words[0] for words in fake.calls] == ["train", "train"]


def test_without_time_nothing_starts_and_unknown_tables_are_refused(atlas: Path) -> None:
    def none(words: Sequence[str], seconds: float) -> int:
        raise AssertionError(words)

    assert runner.run(atlas, [], 0, none) == ["a/one: not reached", "a/two: not reached"]
    with pytest.raises(AtlasError, match=r"\['b'\] are not in .*plan.yaml"):
        runner.run(atlas, ["b"], 60, none)


def test_a_command_is_interrupted_at_the_end_of_the_budget(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys, time\ntime.sleep(float(sys.argv[3]))\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    start = time.monotonic()
    assert runner.command(["60"], 0.3) is None
    assert time.monotonic() - start < 30
    assert runner.command(["0"], 60) == 0
