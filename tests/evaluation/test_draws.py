"""A randomized defense judged over several draws."""

from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.evaluation.predict import answers
from medrobust.evaluation.record.images import image_record
from medrobust.evaluation.record.requests import Requests
from medrobust.evaluation.stream import attacker_seeds, defender_seeds
from medrobust.metric.classification import measure_classification
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.result.store import RowStore
from medrobust.rng import fold_in, uniform
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.support.guarded import Sum
from tests.support.helpers import linear_victim
from tests.support.toys import Noise

P = 0.3


class Flip(Defense):
    """Answers the next class with a known probability, fresh at each draw."""

    random = True

    def __init__(self, p: float = P) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        logits = victim(x)
        wrong = uniform(seeds, (1,)) < self.p
        return Prediction(torch.where(wrong, logits.roll(1, 1), logits))


def images(n: int, victim: Victim, size: int = 8) -> ImageSet:
    x = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    return ImageSet(x, victim(x).argmax(1), tuple(f"set/{i}" for i in range(n)))


def cell(defense: Defense, n: int = 60, draws: int = 3, *, seed: int = 0) -> Cell:
    victim = linear_victim()
    return Cell(
        victim=victim,
        defense=defense,
        surrogate=Adaptive(eot_samples=2)(victim, defense),
        attack=PGD(4 / 255, steps=2),
        clean=images(n, victim),
        classes=4,
        seed=seed,
        defender_draws=draws,
    )


def run(folder: Path, made: Cell, batch_size: int = 32) -> Result:
    return evaluate(made, Runner(torch.device("cpu"), batch_size, TensorCache(folder)))


def test_the_error_rate_of_a_known_coin(tmp_path: Path) -> None:
    """Within four standard errors of 1 - p; correct in all of three draws with (1 - p)^3."""
    n, draws = 400, 3
    victim, defense = linear_victim(), Flip()
    made = Cell(
        *(victim, defense, Oblivious()(victim, defense), NoAttack(), images(n, victim)),
        classes=4,
        defender_draws=draws,
    )
    found = run(tmp_path, made).measured
    for prefix in ("", "clean_"):
        mean = found.values[f"{prefix}accuracy"]
        assert abs(mean - (1 - P)) < 4 * sqrt(P * (1 - P) / (n * draws))
        worst, all_right = found.values[f"{prefix}accuracy_worst_draw"], (1 - P) ** draws
        assert abs(worst - all_right) < 4 * sqrt(all_right * (1 - all_right) / n)
        low, high = found.intervals[f"{prefix}accuracy"]
        assert low < mean < high
        assert 3 < (high - low) / sqrt(P * (1 - P) / (n * draws)) < 5  # 2 · 1.96
        low, high = found.intervals[f"{prefix}accuracy_worst_draw"]
        assert low < worst < high


@pytest.mark.by_default("False")
@pytest.mark.parametrize("vote", [False, True])
def test_the_mean_is_that_of_single_draws(tmp_path: Path, vote: bool) -> None:
    defense = MedRDF(GaussianNoise(0.3), NoDefense(), 9, alpha=0.2) if vote else Noise()
    made = cell(defense)
    result = run(tmp_path, made)
    runner = Runner(torch.device("cpu"), 7, TensorCache(tmp_path / "other"))
    attacked = result.attacked.images
    singles = []
    for draw in range(3):
        before, after = (
            answers(defense, made.victim, which, runner, seed=0, draw=draw)
            for which in (made.clean, attacked)
        )
        singles.append(measure_classification(made.clean.labels, before, after, classes=4, seed=0))
    assert {one.values["accuracy"] for one in singles} > {singles[0].values["accuracy"]}
    found = result.measured
    for name in {name for one in singles for name in one.values}:
        own = [one.values[name] for one in singles if name in one.values]
        assert found.values[name] == pytest.approx(np.mean(own)), name
    assert set(found.intervals) == {name for one in singles for name in one.intervals} | {
        "accuracy_worst_draw",
        "clean_accuracy_worst_draw",
    }
    share = np.mean([one.per_image["correct"] for one in singles if one.per_image], axis=0)
    drawn = np.random.default_rng(0).integers(0, len(share), (200, len(share)))
    wanted = np.quantile(share[drawn].mean(1), [0.025, 0.975])
    np.testing.assert_allclose(found.intervals["accuracy"], wanted)
    assert found.values["accuracy_worst_draw"] == (share == 1).mean()
    assert np.sum(found.confusion) == 3 * len(share)


def test_the_record_holds_the_shares_whose_means_are_the_metrics(tmp_path: Path) -> None:
    made = cell(MedRDF(GaussianNoise(0.3), NoDefense(), 9, alpha=0.2))
    result = run(tmp_path, made)
    record, values = image_record(made, result).columns, result.measured.values
    for column, name in (
        ("correct", "accuracy"),
        ("clean_correct", "clean_accuracy"),
        ("abstained", "abstention_rate"),
    ):
        assert record[column].mean() == pytest.approx(values[name], abs=1e-12)
        assert set(np.round(3 * record[column], 9)) <= {0, 1, 2, 3}
    assert (record["correct"] % 1 != 0).sum() > 0
    np.testing.assert_array_equal(record["answer"], result.after.label)


def test_one_draw_is_the_first_of_several_and_the_default(tmp_path: Path) -> None:
    made = cell(Noise(), draws=1)
    assert Cell.__dataclass_fields__["defender_draws"].default == 1
    one = run(tmp_path, made)
    several = run(tmp_path, replace(made, defender_draws=2))
    assert several.before.key == one.before.key
    assert several.keys == one.keys | {
        "clean_answers_1": several.keys["clean_answers_1"],
        "answers_1": several.keys["answers_1"],
    }
    assert len(set(several.keys.values())) == 5
    assert "accuracy_worst_draw" not in one.measured.values
    record = image_record(made, one).columns
    assert set(record["correct"]) <= {0.0, 1.0}
    assert record["correct"].mean() == one.measured.values["accuracy"]


def test_neither_batch_size_nor_a_repeat_changes_anything_and_the_seed_does(
    tmp_path: Path,
) -> None:
    first, again, other = (
        run(tmp_path / name, cell(Noise(), seed=seed), size).measured
        for name, seed, size in (("a", 0, 32), ("b", 0, 7), ("c", 1, 32))
    )
    assert first == again
    assert first.values != other.values
    for name, values in (first.per_image or {}).items():
        np.testing.assert_allclose(values, (again.per_image or {})[name], rtol=1e-5, atol=1e-5)


def test_a_deterministic_defense_is_asked_once(tmp_path: Path) -> None:
    passes: list[int] = []
    victim = linear_victim()
    victim.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
    made = Cell(
        *(victim, NoDefense(), Oblivious()(victim, NoDefense()), NoAttack()),
        images(20, linear_victim()),
        classes=4,
    )
    one = run(tmp_path / "one", made)
    once = sum(passes)
    five = run(tmp_path / "five", replace(made, defender_draws=5))
    assert sum(passes) == 2 * once > 0
    assert five.measured.values == one.measured.values
    assert five.measured.intervals == one.measured.intervals
    assert five.keys == one.keys


def test_draws_of_a_detector_are_averaged(tmp_path: Path) -> None:
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    made = cell(Sum(weight, 0.0, noise=2.0).eval(), n=40)
    result = run(tmp_path, made)
    record = image_record(made, result).columns
    assert record["clean_detected"].mean() == pytest.approx(
        1 - result.measured.values["clean_acceptance_rate"]
    )
    np.testing.assert_array_equal(record["detected"], record["abstained"])
    assert (record["detected"] % 1 != 0).sum() > 0
    assert "auroc_detection" in result.measured.intervals


def test_no_draw_shares_a_stream_with_another_or_with_the_attacker() -> None:
    ids = [f"set/{i}" for i in range(50)]
    first = defender_seeds(3, ids)
    assert torch.equal(first, defender_seeds(3, ids, 0))
    streams = [attacker_seeds(3, ids), *(defender_seeds(3, ids, draw) for draw in range(5))]
    # What a defense or an attack folds into its own seeds, too.
    streams += [fold_in(one, use) for one in tuple(streams) for use in range(8)]
    words = torch.cat(streams)
    assert len(words.unique()) == len(words)


class Fragile(Noise):
    """Raises for other seeds than those allowed, and where it is to be shown."""

    def __init__(self, allowed: list[int]) -> None:
        super().__init__()
        self.allowed = allowed

    @property
    def settings(self) -> dict[str, object]:
        return {"class": "Fragile"}

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        if not set(seeds.tolist()) <= set(self.allowed):
            raise RuntimeError("no such draw")
        return super().forward(x, victim, seeds=seeds)

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        raise RuntimeError("no view")


def test_a_cell_that_fails_in_a_later_draw_leaves_whole_answers_alone(tmp_path: Path) -> None:
    victim = linear_victim()
    clean = images(12, victim)
    allowed = [seed for draw in range(2) for seed in defender_seeds(0, clean.ids, draw).tolist()]
    defense = Fragile(allowed)
    made = Cell(
        *(victim, defense, Oblivious()(victim, defense), NoAttack(), clean),
        classes=4,
        defender_draws=3,
    )
    with pytest.raises(RuntimeError, match="no such draw"):
        run(tmp_path / "cache", made)
    files = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".safetensors"]) == 3
    assert not [path for path in files if path.suffix not in (".safetensors", ".lock")]
    done = run(tmp_path / "cache", replace(made, defender_draws=2))  # replays what is there
    store = RowStore(tmp_path / "rows")
    with pytest.raises(RuntimeError, match="no view"):
        Requests(None, None).write(
            *(made, done, Runner(torch.device("cpu"), 8, TensorCache(tmp_path)), store, "row")
        )
    assert not store.folder.exists()
