"""Craft, replay, answer, measure: on a small victim, without Hydra."""

from dataclasses import replace

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import AttackError
from medrobust.attack.ddn import DDN
from medrobust.attack.fgsm import FGSM
from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.square import Square
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation import predict
from medrobust.evaluation.adversarial import adversarial_set, set_key
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.build import devices_of
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.checks import craft_checks, flags
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.predict import answers
from medrobust.evaluation.quantize import quantize
from medrobust.evaluation.record.pictures import strips
from medrobust.evaluation.stream import attacker_seeds, defender_seeds
from medrobust.model.core.frozen import UnfrozenError
from medrobust.task import LabelError
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.evaluation.counted import Counted
from tests.support.helpers import check_equal, linear_victim, small_cnn

N, CPU = 37, torch.device("cpu")


@pytest.fixture(scope="module")
def clean() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(N, 3, 8, 8, generator=generator) * 255).round() / 255
    with torch.no_grad():
        labels = small_cnn()(images).argmax(1)
    return ImageSet(images, labels, tuple(f"set/{i}" for i in range(N)))


@pytest.fixture
def cache(tmp_path) -> TensorCache:
    return TensorCache(tmp_path)


def run(cache, clean, *, defense=None, threat=None, attack=None, batch_size=16, seed=0):
    victim, defense = small_cnn(), defense or NoDefense()
    return evaluate(
        Cell(
            victim=victim,
            defense=defense,
            surrogate=(threat or Oblivious())(victim, defense),
            attack=attack or PGD(eps="8/255", steps=5),
            clean=clean,
            classes=4,
            seed=seed,
            quantize=False,
        ),
        Runner(CPU, batch_size, cache),
    )


VOTE = MedRDF(GaussianNoise(0.1), Median(), copies=30)


@pytest.mark.by_default("medrdf-adaptive", "none-oblivious")
@pytest.mark.parametrize("threat", [Oblivious(), Adaptive(3)], ids=["oblivious", "adaptive"])
@pytest.mark.parametrize("defense", [NoDefense(), VOTE, JPEG()], ids=["none", "medrdf", "jpeg"])
def test_same_cell_for_any_batch_size(tmp_path, clean, defense, threat):
    results = [
        run(
            TensorCache(tmp_path / str(size)),
            clean,
            defense=defense,
            threat=threat,
            batch_size=size,
        )
        for size in (16, 128, 7)
    ]
    for other in results[1:]:
        assert torch.equal(other.attacked.images.images, results[0].attacked.images.images)
        check_equal(other.measured.values, results[0].measured.values)
        check_equal(other.measured.intervals, results[0].measured.intervals)
        assert other.measured[2:4] == results[0].measured[2:4]
        assert other.attacked.key == results[0].attacked.key


def test_seed_changes_the_set_and_its_key(tmp_path, clean):
    first, second = (run(TensorCache(tmp_path / str(s)), clean, seed=s) for s in (0, 1))
    assert first.attacked.key != second.attacked.key
    assert not torch.equal(first.attacked.images.images, second.attacked.images.images)


def test_oblivious_sets_are_shared_and_adaptive_ones_are_not(cache, clean):
    first = run(cache, clean)
    again = run(cache, clean, defense=JPEG())
    adaptive = run(cache, clean, defense=JPEG(), threat=Adaptive())
    assert not first.attacked.replayed
    assert again.attacked.replayed
    assert again.attacked.key == first.attacked.key != adaptive.attacked.key
    assert not adaptive.attacked.replayed


@pytest.mark.parametrize(
    "change", ["victim", "attack", "images", "labels", "ids", "seed", "quantize"]
)
def test_everything_enters_the_key(clean, change):
    victim = small_cnn(seed=1 if change == "victim" else 0)
    attack = PGD(eps="8/255", steps=6 if change == "attack" else 5)
    parts = {"images": clean.images, "labels": clean.labels, "ids": clean.ids}
    if change == "images":
        parts["images"] = clean.images.clone()
        parts["images"][3, 1, 2, 2] += 1 / 255
    if change == "labels":
        parts["labels"] = (clean.labels + 1) % 4
    if change == "ids":
        parts["ids"] = tuple(reversed(clean.ids))
    defense = NoDefense()
    key = set_key(
        Oblivious()(victim, defense),
        attack,
        ImageSet(**parts),
        1 if change == "seed" else 0,
        change == "quantize",
    )
    plain = set_key(Oblivious()(small_cnn(), defense), PGD(eps="8/255", steps=5), clean, 0, False)
    assert key != plain


def test_no_attack_is_clean_accuracy(cache, clean):
    result = run(cache, clean, attack=NoAttack())
    assert torch.equal(result.attacked.images.images, clean.images)
    assert result.measured.values["accuracy"] == result.measured.values["clean_accuracy"] == 1.0
    assert result.measured.values["attack_success_rate"] == 0
    assert result.flags == []
    assert result.checks["linf_max"] == 0


def test_checks_are_measured_on_the_surrogate(cache, clean):
    victim = small_cnn()
    surrogate = Oblivious()(victim, NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    attack = FGSM(eps="4/255")
    adversarial = attack(surrogate, clean.images, clean.labels, seeds=seeds)
    found = craft_checks(surrogate, attack, clean, adversarial, seeds, Runner(CPU, 8, cache))
    assert found["surrogate_clean"] == 1.0
    with torch.no_grad():
        right = (victim(adversarial).argmax(1) == clean.labels).float().mean().item()
    assert found["surrogate_adversarial"] == pytest.approx(right)
    change = (adversarial - clean.images).flatten(1)
    assert found["linf_max"] == pytest.approx(change.abs().max().item(), abs=1e-7)
    assert found["l2_median"] == pytest.approx(change.norm(dim=1).median().item(), rel=1e-5)
    assert found["zero_gradient"] == 0


def test_saturated_logits_raise_the_flag(cache, clean):
    """Cross-entropy of logits × 1e6 has no gradient in float32: the number must not stand bare."""
    victim = linear_victim(size=8)
    labels = victim(clean.images).argmax(1)
    victim.network.weight.data *= 1e6
    attack = PGD(eps="8/255", steps=3)
    sure = ImageSet(clean.images, labels, clean.ids)
    surrogate = Oblivious()(victim, NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    adversarial = attack(surrogate, sure.images, labels, seeds=seeds)
    checks = craft_checks(surrogate, attack, sure, adversarial, seeds, Runner(CPU, 16, cache))
    assert checks["zero_gradient"] > 0.9
    assert any("no gradient at all" in flag.text for flag in flags(checks, attack))


def test_an_attack_that_cannot_move_is_flagged(cache, clean):
    """BIM from the clean image on a masked model returns it unchanged: that is no result."""
    victim = linear_victim(size=8)
    labels = victim(clean.images).argmax(1)
    victim.network.weight.data *= 1e6
    attack = BIM(eps="8/255", steps=3)
    sure = ImageSet(clean.images, labels, clean.ids)
    surrogate = Oblivious()(victim, NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    still = sure.images.clone()
    checks = craft_checks(surrogate, attack, sure, still, seeds, Runner(CPU, 16, cache))
    assert checks["linf_max"] == 0
    found = " ".join(flag.text for flag in flags(checks, attack))
    assert "no gradient at all" in found
    assert "0% of its linf budget" in found
    assert "hardly fooled" in found


def test_flags_for_a_weak_attack():
    strong = {
        "surrogate_clean": 0.9,
        "surrogate_adversarial": 0.1,
        "zero_gradient": 0.0,
        "linf_median": 8 / 255,
        "linf_max": 8 / 255,
        "l2_median": 1.0,
        "l2_max": 1.0,
    }
    attack = PGD(eps="8/255", steps=3)
    assert flags(strong, attack) == []
    assert "budget" in flags(strong | {"linf_median": 2 / 255}, attack)[0].text
    nearest = DDN(eps="8/255", steps=3)  # of its budget it needs what the image asks for
    assert flags(strong | {"l2_median": 1e-3}, nearest) == []
    for hasty in (nearest, PGD(eps="8/255", steps=3, early_stop=True), AutoAttack("8/255")):
        assert flags(strong, hasty) == []
        (flag,) = flags(strong, hasty, random=True)
        assert flag.text.startswith(
            f"{type(hasty).__name__} judges success on a randomized defense"
        )
    for patient in (attack, AutoAttack("8/255", version="rand"), Square("8/255")):
        assert flags(strong, patient, random=True) == []
    assert "hardly fooled" in flags(strong | {"surrogate_adversarial": 0.89}, attack)[0].text
    assert (
        "only 40%"
        in flags(strong | {"surrogate_clean": 0.4, "surrogate_adversarial": 0.0}, attack)[0].text
    )


def test_answers_are_replayed_and_count_abstentions(cache, clean):
    runner = Runner(CPU, 8, cache)
    first = answers(VOTE, small_cnn(), clean, runner, seed=0)
    again = answers(VOTE, small_cnn(), clean, runner, seed=0)
    assert first.seconds == again.seconds  # read from disk, not measured anew
    assert torch.equal(first.abstain, again.abstain)
    direct = VOTE(clean.images, small_cnn(), seeds=defender_seeds(0, clean.ids))
    assert torch.equal(direct.abstain, first.abstain)
    assert torch.equal(direct.label, first.label)
    assert torch.equal(direct.confidence.double(), first.confidence)
    assert torch.equal(direct.log_odds, first.log_odds)


def test_answers_of_the_format_with_probabilities_are_not_replayed(cache, clean, monkeypatch):
    runner = Runner(CPU, 8, cache)
    with monkeypatch.context() as patch:
        patch.setattr(predict, "FORMAT", 2)
        old = answers(NoDefense(), small_cnn(), clean, runner, seed=0)
    new = answers(NoDefense(), small_cnn(), clean, runner, seed=0)
    assert new.key != old.key
    kept = cache.read(new.key).tensors
    assert set(kept) == {"label", "log_odds"}
    assert kept["log_odds"].dtype == torch.float64


def test_nan_logits_fail_with_the_ids(cache, clean):
    victim = small_cnn()
    victim.network[0].weight.data[0] = torch.nan
    with pytest.raises(FloatingPointError, match="set/0"):
        answers(NoDefense(), victim, clean, Runner(CPU, 8, cache), seed=0)
    assert not list(cache.folder.rglob("*.safetensors"))


def test_a_broken_attack_fails_with_the_ids_and_stores_nothing(cache, clean):
    class Greedy(FGSM):
        def perturb(self, surrogate, x, goal, *, seeds):
            return (x + 2 * self.eps).clamp(0, 1)

    with pytest.raises(AttackError, match=r"broke its budget.*set/15"):
        run(cache, clean, attack=Greedy(eps="8/255"))
    assert not list(cache.folder.rglob("*.safetensors"))


@pytest.mark.parametrize(("key", "value"), [("strategy", "fsdp"), ("precision", "bf16-mixed")])
def test_what_a_cell_would_ignore_is_refused(key, value):
    trainer = {"accelerator": "cpu", "devices": 1, "strategy": "auto", "precision": "32-true"}
    assert devices_of(DictConfig(trainer)) == (CPU, None)
    with pytest.raises(ValueError, match=f"trainer.{key}={value}"):
        devices_of(DictConfig(trainer | {key: value}))


def test_devices_of_a_machine_without_a_gpu():
    trainer = {"accelerator": "cpu", "strategy": "ddp", "precision": "32-true"}
    assert devices_of(DictConfig(trainer | {"devices": "auto"})) == (CPU, None)
    device, shards = devices_of(DictConfig(trainer | {"devices": 2}))
    assert device == CPU
    assert shards is not None
    assert shards.devices == 2


def test_attacker_never_sees_the_defenders_dice(clean):
    assert not set(attacker_seeds(0, clean.ids).tolist()) & set(
        defender_seeds(0, clean.ids).tolist()
    )


@pytest.mark.parametrize("eps", [8 / 255, 5.5 / 255, 0.9 / 255])
def test_quantized_linf_stays_in_budget_and_on_the_grid(clean, eps):
    attack = PGD(eps=eps, steps=3)
    surrogate = Oblivious()(small_cnn(), NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    adversarial = attack(surrogate, clean.images, clean.labels, seeds=seeds)
    found = quantize(clean.images, adversarial, "linf", eps)
    assert (found * 255 - (found * 255).round()).abs().max() < 1e-4
    assert (found - clean.images).abs().max() <= eps + 1e-6
    assert (found - adversarial).abs().max() <= 1 / 255 + 1e-6


def test_quantized_l2_stays_in_budget(clean):
    attack = PGDL2(eps=0.3, steps=5)
    surrogate = Oblivious()(small_cnn(), NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    adversarial = attack(surrogate, clean.images, clean.labels, seeds=seeds)
    found = quantize(clean.images, adversarial, "l2", 0.3)
    assert (found - clean.images).flatten(1).norm(dim=1).max() <= 0.3 + 1e-5
    assert not torch.equal(found, clean.images)


def test_quantize_needs_eight_bit_images(clean):
    with pytest.raises(ValueError, match="set quantize=false"):
        quantize(clean.images + 0.3 / 255, clean.images, "linf", 0.1)


def test_crafted_set_is_what_is_replayed(cache, clean):
    surrogate = Oblivious()(small_cnn(), NoDefense())
    runner = Counted(CPU, 9, cache)
    attack = PGD(eps="8/255", steps=2)
    first, second = (
        adversarial_set(surrogate, attack, clean, runner, seed=0, quantize=True) for _ in range(2)
    )
    assert sum(runner.done) == N
    assert (first.replayed, second.replayed) == (False, True)
    assert torch.equal(first.images.images, second.images.images)
    assert first.checks == second.checks


def test_strips_show_four_pictures_side_by_side(clean):
    attacked = clean.with_images((clean.images + 4 / 255).clamp(0, 1))
    found = strips(clean, attacked, Median(), seed=0, count=3)
    assert list(found) == ["set/0", "set/18", "set/36"]
    assert found["set/0"].shape == (8, 32, 3)
    first = (clean.images[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (found["set/0"][:, :8] == first).all()
    grey = ImageSet(clean.images[:, :1], clean.labels, clean.ids)
    assert strips(grey, grey, NoDefense(), seed=0)["set/0"].shape == (8, 32, 3)


class Exact(NoDefense):
    """Says numbers that float32 rounds up to the thresholds that they miss."""

    def forward(self, x, victim, *, seeds):
        short = torch.full((len(x),), 0.25, dtype=torch.float64) - 1e-12
        return replace(
            super().forward(x, victim, seeds=seeds),
            score=short,
            threshold=torch.tensor(0.25),
            abstain=short > 0.25,
            details={"certified_radius": short},
        )


def test_no_number_is_rounded_before_it_meets_a_threshold(cache, clean):
    values = run(cache, clean, defense=Exact(), attack=NoAttack()).measured.values
    assert values["certified_accuracy@0.1"] == values["clean_accuracy"] > 0
    assert values["certified_accuracy@0.25"] == 0
    runner = Runner(CPU, 8, cache)
    found = answers(Exact(), small_cnn(), clean, runner, seed=0)
    assert (found.score < 0.25).all()
    assert (found.details["certified_radius"] < 0.25).all()


def test_an_unfrozen_victim_is_refused_and_left_alone(cache, clean):
    victim = small_cnn()
    victim.network.append(nn.BatchNorm1d(4))
    victim.train()
    before = victim.fingerprint
    with pytest.raises(UnfrozenError, match=r"training mode.*call victim\.freeze\(\)"):
        answers(NoDefense(), victim, clean, Runner(CPU, 8, cache), seed=0)
    assert victim.fingerprint == before


def test_labels_that_are_no_classes_are_refused(cache, clean):
    labels = clean.labels.clone()
    labels[3] = 4
    wrong = ImageSet(clean.images, labels, clean.ids)
    with pytest.raises(LabelError, match=r"labels \[4\] of images \[3\] .* 4 classes"):
        run(cache, wrong, attack=NoAttack())
