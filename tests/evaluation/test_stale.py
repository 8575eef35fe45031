"""A number is what the code at hand computes: edited code, `rerun`, and rows by other code."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from medrobust.cli.cache import main as cache
from medrobust.cli.report import main as report
from medrobust.code import package
from medrobust.result.row import Row
from medrobust.result.store import RowStore
from tests.support.here import run_here

DATA = ["data=dermamnist", "data.phantom=true", "data.phantom_n=140", "data.size=28"]
VICTIM = ["model=resnet18", "model.network=test_resnet", "trainer=cpu", "logger=none"]

DARKER = """
from medrobust.defense.core.base import Purifier
from own_scaled import Scaled

class Darker(Scaled, Purifier):
    def purify(self, x, *, seeds):
        return x * 0.9 * self.scale
"""
SCALED = "class Scaled:\n    scale = 1.0\n"
ATTACK = """
def call(model, x, y):
    return (x + 0.03).clamp(0, 1)
"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a phantom and a victim that was trained on it for two epochs."""
    root = tmp_path_factory.mktemp("victim")
    words = [f"paths.root={root}", *DATA, *VICTIM, "trainer.max_epochs=2", "progress_bar=false"]
    with pytest.MonkeyPatch.context() as patch:
        assert run_here(patch, "train.py", *words) == 0
    return root


class Place:
    """A user's folder: local modules, rows and a cache of its own."""

    def __init__(self, victim: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.victim, self.folder, self.patch = victim, folder, monkeypatch
        self.loaded: set[str] = set()
        monkeypatch.syspath_prepend(folder)

    def write(self, name: str, text: str) -> None:
        """Write a local module; the next run loads it anew, as a new process would."""
        (self.folder / f"{name}.py").write_text(text)
        self.loaded.add(name)

    def run(self, *overrides: str, outputs: str = "outputs", status: int = 0) -> list[Row]:
        """Run evaluate.py; the rows that its jobs stand for, in order."""
        for name in self.loaded:
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sweep = self.folder / "sweep"
        words = [f"paths.root={self.victim}", *DATA, *VICTIM, *overrides]
        flags = ["-m", f"hydra.sweep.dir={sweep}", "++hydra.callbacks.table.formats=[md]"]
        flags.append(f"paths.rows={self.folder / outputs / 'rows'}")
        flags.append(f"paths.cache={self.folder / outputs / 'cache'}")
        assert run_here(self.patch, "evaluate.py", *flags, *words) == status
        notes = [json.loads(path.read_text()) for path in sorted(sweep.glob("*/cell.json"))]
        self.said = [note["status"] for note in notes]
        found = [RowStore(note["rows"]).get(note["row"]) for note in notes]
        return [row for row in found if row is not None]

    def fresh(self, *overrides: str) -> Row:
        """The row of one cell with nothing stored."""
        self.number = getattr(self, "number", 0) + 1
        return self.run(*overrides, outputs=f"fresh{self.number}")[0]

    @property
    def rows(self) -> list[Row]:
        return RowStore(self.folder / "outputs/rows").rows()


@pytest.fixture
def place(victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(victim, tmp_path, monkeypatch)


OWN_DEFENSE = ["attack=fgsm", "defense._target_=own_darker.Darker"]


@pytest.mark.slow
def test_an_edited_purifier_is_another_defense(place: Place) -> None:
    place.write("own_scaled", SCALED)
    place.write("own_darker", DARKER)
    (first,) = place.run(*OWN_DEFENSE)
    assert place.run(*OWN_DEFENSE) == [first]
    assert place.said == ["skipped"]

    said = DARKER.replace("\n    def", '\n    """Mine."""\n    def')
    place.write("own_darker", f"# a comment\n{said}")
    assert place.run(*OWN_DEFENSE) == [first]
    assert place.said == ["skipped"]

    place.write("own_darker", DARKER.replace("0.9", "0.1"))
    (edited,) = place.run(*OWN_DEFENSE)
    assert place.said == ["done"]
    assert edited.metrics == place.fresh(*OWN_DEFENSE).metrics != first.metrics
    assert edited.fingerprints["adversarial_set"] == first.fingerprints["adversarial_set"]

    place.write("own_scaled", SCALED.replace("1.0", "0.2"))  # of a base class, in another file
    (based,) = place.run(*OWN_DEFENSE)
    assert place.said == ["done"]
    assert based.metrics == place.fresh(*OWN_DEFENSE).metrics
    assert len({row.id for row in (first, edited, based)}) == 3
    assert based.code["outside"].keys() == {"own_darker.Darker"}


def test_an_edited_function_is_another_attack(place: Place) -> None:
    own = ["attack=external", "attack.call=own_attack.call", "attack.arguments=null"]
    place.write("own_attack", ATTACK)
    (first,) = place.run(*own)
    place.write("own_attack", ATTACK.replace("+ 0.03", "- 0.03"))
    (edited,) = place.run(*own)
    assert edited.fingerprints["adversarial_set"] != first.fingerprints["adversarial_set"]
    assert edited.metrics == place.fresh(*own).metrics


def test_rerun_replays_nothing(place: Place) -> None:
    words = ["attack=fgsm", "defense=jpeg"]
    (first,) = place.run(*words)
    files = {path: path.stat().st_mtime_ns for path in place.folder.rglob("*.safetensors")}
    assert len(files) == 3
    (again,) = place.run(*words, "rerun=true")
    assert place.said == ["done"]
    assert (again.id, again.metrics) == (first.id, first.metrics)
    assert all(path.stat().st_mtime_ns > then for path, then in files.items())


def test_rows_by_other_code_are_flagged_and_renewed_alone(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["attack=fgsm", "defense=none,jpeg"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "_digest", lambda stamps: "0" * 64)
        old = place.run("attack=fgsm", "defense=jpeg")
    assert place.run("attack=fgsm", "defense=jpeg") == old  # shown, not renewed
    assert "made by other code" in capsys.readouterr().out

    none, jpeg = place.run(*words, "++hydra.callbacks.table.formats=[md,tex,html]")
    assert place.said == ["done", "skipped"]
    for name in ("table.md", "table.tex", "report.html"):
        assert "made by other code" in (place.folder / "sweep" / name).read_text()
    capsys.readouterr()
    where = ["--cache", str(place.folder / "outputs/cache")]
    assert cache(["list", *where, "--rows", str(place.folder / "outputs/rows")]) == 0
    listed = capsys.readouterr().out
    assert jpeg.id[:8] in listed.split("by other code")[1]
    assert none.id[:8] not in listed.split("by other code")[1]

    renewed = place.run(*words, "rerun=stale")
    assert place.said == ["skipped", "done"]
    assert [row.id for row in renewed] == [none.id, jpeg.id]
    assert {row.code["package"] for row in renewed} == {package.package_digest()}
    assert [row.metrics for row in renewed] == [none.metrics, jpeg.metrics]
    assert report([str(place.folder / "sweep")]) == 0
    assert "made by other code" not in (place.folder / "sweep/table.md").read_text()

    place.run(*words, "rerun=stale")
    assert place.said == ["skipped", "skipped"]


@pytest.mark.slow
def test_code_without_source_is_never_replayed(place: Place) -> None:
    dynamic = DARKER.replace("class Darker", "class Real")
    dynamic += "\nDarker = type('Darker', (Real,), {})\n"  # as in a notebook: no text has it
    place.write("own_scaled", SCALED)
    place.write("own_darker", dynamic)
    (first,) = place.run(*OWN_DEFENSE)
    assert any(flag.code == "no_source" and "Darker" in flag.text for flag in first.flags)
    assert "answers" not in first.fingerprints
    assert "adversarial_set" in first.fingerprints  # it needs no defense
    assert [row.id for row in place.run(*OWN_DEFENSE)] == [first.id]
    assert place.said == ["done"]
    place.write("own_darker", dynamic.replace("0.9", "0.1"))
    (edited,) = place.run(*OWN_DEFENSE)
    assert place.said == ["done"]
    assert edited.metrics == place.fresh(*OWN_DEFENSE).metrics != first.metrics


def test_one_set_and_one_answer_where_nothing_defends(place: Place) -> None:
    oblivious, adaptive = place.run("attack=fgsm", "defense=none", "threat=oblivious,adaptive")
    assert oblivious.id != adaptive.id
    assert oblivious.metrics == adaptive.metrics
    for key in ("adversarial_set", "answers", "clean_answers"):
        assert oblivious.fingerprints[key] == adaptive.fingerprints[key]
    assert len(list(place.folder.rglob("*.safetensors"))) == 3


def test_two_things_without_source_have_rows_of_their_own(place: Place) -> None:
    place.write("own_scaled", SCALED)
    made = "\ndef make(k):\n    class Made(Real):\n        scale = k\n    return Made\n"
    made += "Light, Dark = make(1.0), make(0.0)\n"
    place.write("own_darker", DARKER.replace("class Darker", "class Real") + made)
    light, dark = place.run("attack=fgsm", "defense._target_=own_darker.Light,own_darker.Dark")
    assert light.id != dark.id
    assert light.metrics != dark.metrics


def test_code_that_builds_what_the_config_names_counts(place: Place) -> None:
    place.write("own_scaled", SCALED)
    place.write("own_darker", DARKER)
    build = "from own_darker import Darker\n\ndef make():\n    made = Darker()\n"
    build += "    made.scale = 1.0\n    return made\n"
    place.write("own_build", build)
    words = ["attack=fgsm", "defense._target_=own_build.make"]
    (first,) = place.run(*words)
    place.write("own_build", build.replace("1.0", "0.0"))
    (edited,) = place.run(*words)
    assert place.said == ["done"]
    assert edited.metrics != first.metrics


def test_a_package_that_is_edited_while_a_cell_runs_did_not_compute_it(place: Place) -> None:
    now = package.package_digest()
    place.patch.setattr(package, "_digest", package._digest)  # put back afterwards
    edit = "    from medrobust.code import package\n    package._digest = lambda stamps: '1' * 64\n"
    place.write("own_attack", f"def call(model, x, y):\n{edit}    return x\n")
    own = ["attack=external", "attack.call=own_attack.call", "attack.arguments=null"]
    (row,) = place.run(*own)
    assert package.package_digest() == "1" * 64
    assert row.code["package"] == now


def test_code_that_is_edited_before_it_is_loaded_fails_the_cell(place: Place) -> None:
    lazy = place.folder / "own_lazy.py"
    place.write("own_lazy", "K = 0.03\n")
    edit = f"    open({str(lazy)!r}, 'w').write('K = -0.03\\n')\n"
    load = "    from own_lazy import K\n    return (x + K).clamp(0, 1)\n"
    place.write("own_attack", f"def call(model, x, y):\n{edit}{load}")
    own = ["attack=external", "attack.call=own_attack.call", "attack.arguments=null"]
    (row,) = place.run(*own, status=1)
    assert "code was edited before this cell loaded it" in str(row.error)


@pytest.mark.by_default("defense")
@pytest.mark.parametrize("group", ["attack", "defense", "threat"])
def test_what_is_no_attack_defense_or_threat_is_refused(place: Place, group: str) -> None:
    place.write("own_thing", "class Thing:\n    pass\n")
    words = [f"~{group}", f"+{group}={{_target_: own_thing.Thing}}"]
    if group == "threat":
        words = [f"{group}=oblivious", f"{group}._target_=own_thing.Thing"]
    (row,) = place.run(*words, status=1)
    assert f"{group}._target_=own_thing.Thing makes a Thing, expected a" in str(row.error)
