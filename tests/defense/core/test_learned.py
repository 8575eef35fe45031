"""The frame of trained defenses: what `fit` loads, and what it refuses."""

import copy
import io
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.defense.core.checkpoint import (
    DefenseError,
    DefenseMeta,
    MissingDefenseError,
    read_meta,
    save_defense,
)
from medrobust.defense.core.learned import UntrainedDefenseError, training_seconds
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.evaluation.batches.worker import packed, unpacked
from medrobust.fingerprint import digest, digest_tensors
from medrobust.model import mobilenet
from medrobust.model.core.checkpoint import load_victim
from medrobust.model.core.victim import Victim
from medrobust.training.command import defense_command, train_command
from tests.support.helpers import linear_victim
from tests.support.learners import Guard, Mixer

SEEDS = torch.arange(5)
DATA = SimpleNamespace(
    name="toy", channels=3, phantom=True, manifest=SimpleNamespace(digest="d" * 64),
    task="classification", classes=("a", "b"),
)  # fmt: skip
META = DefenseMeta(
    data="toy", data_key="toy_8px", data_digest="d" * 64, phantom=True, task="classification",
    classes=["a", "b"], seed=0, epochs=3, best_epoch=1, seconds=7.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def victim() -> Victim:
    return linear_victim()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mixer" / "seed_0.ckpt"


def pictures() -> Tensor:
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def write(path: Path, kind: type[Mixer] = Mixer, number: int = 0, **meta: Any) -> dict[str, Tensor]:
    """A checkpoint with weights drawn from a number."""
    torch.manual_seed(number)
    made = kind("mixer", str(path))
    made.build(3)
    save_defense(path, made.training_settings, made.state_dict(), replace(META, **meta))
    return made.state_dict()


def loaded(path: Path, victim: Victim, **settings: Any) -> Mixer:
    made = Mixer("mixer", str(path), **settings)
    made.fit(victim, DATA)
    return made


def test_fit_loads_the_weights_frozen(path: Path, victim: Victim) -> None:
    state = write(path)
    before = torch.get_rng_state()
    defense = loaded(path, victim)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(value, state[name]) for name, value in defense.state_dict().items())
    assert not defense.training
    assert not any(weight.requires_grad for weight in defense.parameters())
    assert defense.meta == META == read_meta(path)
    assert training_seconds(defense) == 7
    again = defense.fingerprint
    defense.fit(victim, DATA)
    assert defense.fingerprint == again


def test_the_fingerprint_tells_weights_and_settings_but_no_place(
    path: Path, victim: Victim, tmp_path: Path
) -> None:
    write(path)
    first = loaded(path, victim).fingerprint
    elsewhere = tmp_path / "elsewhere.ckpt"
    write(elsewhere, seconds=9.0)
    assert loaded(elsewhere, victim).fingerprint == first
    assert loaded(path, victim, soft=True).fingerprint != first
    write(path, number=1)
    assert loaded(path, victim).fingerprint != first


@pytest.mark.parametrize(
    "travel",
    [
        copy.deepcopy,
        lambda defense: pickle.loads(pickle.dumps(defense)),
        lambda defense: unpacked(packed(defense), torch.device("cpu")),  # to a worker
    ],
)  # fmt: skip
def test_weights_travel(path: Path, victim: Victim, travel: Callable[[Mixer], Mixer]) -> None:
    write(path)
    defense = loaded(path, victim)
    path.unlink()
    twin = travel(defense)
    assert twin.fingerprint == defense.fingerprint
    x = pictures()
    assert torch.equal(twin.purify(x, seeds=SEEDS), defense.purify(x, seeds=SEEDS))
    assert torch.equal(twin.cpu().view(x, seeds=SEEDS), defense.view(x, seeds=SEEDS))


def test_a_part_of_another_defense_is_loaded_too(path: Path, victim: Victim) -> None:
    write(path)
    vote = MedRDF(GaussianNoise(0.1), Mixer("mixer", str(path)), copies=4)
    with pytest.raises(UntrainedDefenseError):
        vote(pictures(), victim, seeds=SEEDS)
    bare = vote.fingerprint
    vote.fit(victim, DATA)
    assert vote.fingerprint != bare
    assert len(vote(pictures(), victim, seeds=SEEDS).label) == 5
    assert training_seconds(vote) == 7


def test_untrained_is_refused(path: Path, victim: Victim) -> None:
    defense = Mixer("mixer", str(path))
    for ask in (defense, defense.proxy):
        with pytest.raises(UntrainedDefenseError, match=r"medrobust train defense=mixer"):
            ask(pictures(), victim, seeds=SEEDS)
    with pytest.raises(MissingDefenseError) as caught:
        defense.fit(victim, DATA)
    assert str(path) in str(caught.value)
    command = "medrobust train defense=mixer data=toy data.phantom=true seed=0"
    assert caught.value.train_command == command
    defense.train_command = "medrobust train of the cell"
    with pytest.raises(MissingDefenseError, match=r"\n  medrobust train of the cell$"):
        defense.fit(victim, DATA)


def test_what_was_trained_otherwise_is_refused(path: Path, victim: Victim) -> None:
    write(path)
    again = r"train it again with\n  medrobust train defense=mixer.* overwrite=true"
    for settings, message in (
        ({"gain": 2.0}, r"gain: 1\.0 -> 2\.0"),
        ({"seed": 1}, r"seed: 0 -> 1"),
    ):
        with pytest.raises(DefenseError, match=message + r"\n" + again):
            loaded(path, victim, **settings)
    loaded(path, victim, soft=True)  # changes no weight
    with pytest.raises(DefenseError, match=r"class: Mixer -> Guard"):
        Guard("mixer", str(path)).fit(victim, DATA)
    for meta, message in (
        ({"classes": ["b", "a"]}, r"the 2 classes b, a \(toy_8px\), .* have 2: a, b; "),
        ({"classes": ["a", "c"]}, "the 2 classes a, c .*; "),
        ({"task": "segmentation"}, "for segmentation, the data at hand are for classification; "),
        ({"phantom": False}, "on real images, the data at hand are procedural phantoms; "),
        ({"seed": 3}, "with seed=3, expected 0; "),
    ):
        write(path, **meta)
        with pytest.raises(DefenseError, match=message + again):
            loaded(path, victim)
    write(path, data_digest="e" * 64)
    with pytest.raises(DefenseError, match=r"manifest eeeeeeeeeeee, .* dddddddddddd; " + again):
        loaded(path, victim)


def test_one_of_another_victim_is_refused_where_it_needs_one(path: Path, victim: Victim) -> None:
    other = linear_victim(seed=1)
    write(path, Guard, victim=victim.fingerprint)
    Guard("mixer", str(path)).fit(victim, DATA)
    with pytest.raises(DefenseError, match=f"{victim.fingerprint[:12]}.*{other.fingerprint[:12]}"):
        Guard("mixer", str(path)).fit(other, DATA)
    write(path, victim=victim.fingerprint)
    loaded(path, other)


def test_one_for_a_victim_of_the_first_format_still_serves(path: Path, tmp_path: Path) -> None:
    """A builder was named by its module's path; the fingerprint that a defense names stays."""
    torch.manual_seed(0)
    made = mobilenet.build(2, name="m", network="mobilenetv2_035").freeze()
    old = {**made.architecture, "_target_": "medrobust.model.mobilenet.build"}
    del old["builder"]
    fingerprint = digest([old, digest_tensors(made.state_dict())])  # as it was computed then
    meta = asdict(META)
    del meta["victim"], meta["queries"]
    plain = {"format": 1, "fingerprint": fingerprint, "meta": meta, "architecture": old}
    first = tmp_path / "victim.ckpt"
    torch.save({**plain, "digest": digest(plain), "state_dict": made.state_dict()}, first)
    loaded_victim = load_victim(first, train_command="")
    assert loaded_victim.fingerprint == fingerprint
    write(path, Guard, victim=fingerprint)
    Guard("mixer", str(path)).fit(loaded_victim, DATA)


def test_weights_of_another_precision_are_named(path: Path, victim: Victim) -> None:
    write(path)
    content = torch.load(path, weights_only=True)
    content["state_dict"] = {name: value.double() for name, value in content["state_dict"].items()}
    torch.save(content, path)
    with pytest.raises(DefenseError, match=r"in torch\.float64, expected torch\.float32"):
        loaded(path, victim)


class Malicious:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["MALICIOUS"],)


def test_code_in_a_checkpoint_is_not_run(
    path: Path, victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALICIOUS", str(tmp_path / "owned"))
    write(path)
    for content in (Malicious(), {**torch.load(path), "meta": Malicious()}):
        torch.save(content, path)
        with pytest.raises(DefenseError, match="or holds code"):
            loaded(path, victim)
    path.write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(DefenseError, match="or holds code"):
        loaded(path, victim)
    assert not (tmp_path / "owned").exists()


def test_damaged_and_changed_files_are_refused(path: Path, victim: Victim) -> None:
    write(path)
    whole, content = path.read_bytes(), torch.load(path, weights_only=True)
    for damaged in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(DefenseError, match=r"is damaged.*train again"):
            loaded(path, victim)
    state = content["state_dict"]
    bent = {name: value + 1e-3 for name, value in state.items()}
    short = {"mix.weight": state["mix.weight"]}
    for changes, message in (
        ({"state_dict": bent}, "its weights give fingerprint"),
        ({"state_dict": short}, "weights and settings do not agree"),
        ({"meta": content["meta"] | {"seconds": 1.0}}, "changed after it was written"),
        ({"settings": content["settings"] | {"gain": 2.0}}, "changed after it was written"),
        ({"format": 99}, "has format 99"),
        ({"more": 1}, "expected the parts"),
    ):
        buffer = io.BytesIO()
        torch.save(content | changes, buffer)
        path.write_bytes(buffer.getvalue())
        with pytest.raises(DefenseError, match=message):
            loaded(path, victim)
    path.write_bytes(whole)
    loaded(path, victim)


def test_an_interrupted_write_leaves_the_old_file(
    path: Path, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path)
    old = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write(path, number=1)
    assert path.read_bytes() == old
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_meta_is_plain_data() -> None:
    assert DefenseMeta(**asdict(META)) == META


def test_the_command_repeats_what_decides_the_weights() -> None:
    choices = {"data": "dermamnist", "model": "vgg16", "objective": "standard", "defense": "nrp/x"}
    overrides = [
        "defense.width=0.5", "~defense.features.path", "+data.note=a b", "data.limit_test=40",
        "data.workers=2", "model.drop_rate=0", "attack.eps=0.1", "paths.root=/elsewhere",
        "paths.rows=/rows", "defense_seed=3",
    ]  # fmt: skip
    assert defense_command(choices, overrides, 3, None) == (
        "medrobust train defense=nrp/x data=dermamnist defense.width=0.5 "
        "'~defense.features.path' '+data.note=a b' seed=3 paths.root=/elsewhere"
    )
    found = defense_command(choices, overrides, 3, 1)
    assert "model=vgg16 objective=standard" in found
    assert "model.drop_rate=0" in found
    assert found.endswith(" seed=3 victim_seed=1 paths.root=/elsewhere")
    assert "defense" not in train_command(choices, overrides, 0)
    assert "data.phantom" not in train_command(choices, [], 0)
    assert "data.phantom=true" in train_command(choices, [], 0, phantom=True)
    assert train_command(choices, ["data.phantom=True"], 0, phantom=True).count("phantom") == 1
