import copy
import math
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.utils.data import DataLoader

from medrobust.attack.pgd import PGD
from medrobust.data.core.base import Sample
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.checkpoint import DefenseError, MissingDefenseError, read_defense
from medrobust.defense.core.detector import Detector, UnfittedDetectorError
from medrobust.defense.core.fitting import FitError
from medrobust.defense.network.shield import ShieldNetwork, moments
from medrobust.defense.shield import Shield
from medrobust.logger.null import NullLogger
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.objective.core.inner import Highest
from medrobust.training.checkpoint_path import AlreadyTrainedError
from medrobust.training.defense.shield import Clean, ShieldModule, ShieldSurrogate
from medrobust.training.defense.train import TrainingSetup, train_defense
from tests.support.clinic import (
    TAPS,
    Clinic,
    SplitData,
    check_bits,
    check_gradient,
    clinic,
    pictures,
)


class Loaded(SplitData):
    """The clinic's data with what a training asks for beside."""

    key = "toy_16px"
    batch_size = 60
    classes = ("a", "b", "c")

    def train_dataloader(self) -> DataLoader[Sample]:
        generator = torch.Generator().manual_seed(torch.initial_seed() % 2**63)
        return DataLoader(self.dataset("train"), 60, shuffle=True, generator=generator)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.dataset("val"), 60)  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Sample]:
        return DataLoader(self.dataset("test"), 60)  # type: ignore[arg-type]


def shield(checkpoint: str = "nowhere.ckpt", **settings: Any) -> Shield:
    defaults = {"taps": TAPS, "hidden": 16, "steps": 3}
    return Shield("shield", checkpoint, **defaults | settings)


def data_of(found: Clinic) -> Loaded:
    return Loaded({name: (part.images, part.labels) for name, part in found.data.splits.items()})


def module_of(
    detector: Shield, data: Any = None, epoch: int = 0, epochs: int = 4, seed: int = 0
) -> ShieldModule:
    """The training loop as it stands in an epoch, without a trainer."""
    found = clinic()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector.inspect_victim(found.victim, data or found.data)
        detector.build(3)
        setup = TrainingSetup(
            data or found.data, torch.optim.Adam, None, seed=seed, recipe={}, victim=found.victim
        )
        module = detector.training_module(setup)
    assert isinstance(module, ShieldModule)
    module._trainer = SimpleNamespace(max_epochs=epochs, current_epoch=epoch)
    return module


def taught(epochs: int = 4, **settings: Any) -> Shield:
    """Trained by a plain loop, then fitted."""
    found, detector = clinic(), shield(**settings)
    module = module_of(detector, epochs=epochs).train()
    module.on_fit_start()
    optimizer = torch.optim.Adam(module.trained(), lr=1e-3)
    train = found.data.dataset("train")
    generator = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        module._trainer.current_epoch = epoch
        for part in torch.randperm(len(train), generator=generator).split(60):
            names = [train.entries[i].id for i in part.tolist()]
            optimizer.zero_grad()
            module.loss(Sample(train.images[part], train.labels[part], names)).backward()
            optimizer.step()
    detector.meta = SimpleNamespace()
    detector.eval().requires_grad_(False)
    Detector.fit(detector, found.victim, found.data)
    return detector


@pytest.fixture(scope="module")
def trained() -> Shield:
    return taught(hidden=64)


def batch_of(found: Clinic) -> Sample:
    return Sample(found.clean, found.labels, [f"x/{i}" for i in range(len(found.clean))])


def test_attacked_images_score_higher(trained: Shield) -> None:
    victim, _, clean, _, attacked, seeds = clinic()
    with torch.no_grad():
        low, high = (trained(x, victim, seeds=seeds).score for x in (clean, attacked))
    assert (high > low).sum() > 42  # of 60 images, each before and after the attack
    assert roc_auc_score([0] * len(low) + [1] * len(high), torch.cat([low, high])) > 0.7


def test_the_detector_of_the_answered_class_scores(trained: Shield) -> None:
    victim, _, clean, _, _, seeds = clinic()
    with torch.no_grad():
        found = trained(clean, victim, seeds=seeds)
        _, features = victim.features(clean, TAPS)
        every = trained.clean_logits(features)
    assert every.shape == (len(clean), 3)
    for place, label in enumerate(found.logits.argmax(1).tolist()):
        torch.testing.assert_close(found.score[place], -every[place, label])


def test_network_is_one_perceptron_per_class_on_moments() -> None:
    """Against NumPy, class by class and image by image."""
    torch.manual_seed(0)
    network = ShieldNetwork({"a": (3, 5, 4), "b": (7,)}, classes=3, hidden=6).double().eval()
    clean = {"a": torch.randn(40, 3, 5, 4).double() * 3 + 1, "b": torch.randn(40, 7).double()}
    clean["a"][:, 2] = 0.5  # a channel that never varies
    network.standardise(network.describe(clean))
    a, b = clean["a"].numpy(), clean["b"].numpy()
    rows = [np.concatenate([x.mean((1, 2)), x.std((1, 2)), y]) for x, y in zip(a, b, strict=True)]
    numbers = np.stack(rows)
    np.testing.assert_allclose(network.describe(clean).numpy()[:, :5], numbers[:, :5])
    np.testing.assert_allclose(network.describe(clean).numpy()[:, 6:], numbers[:, 6:])
    numbers[:, 5] = 1e-6  # the least deviation that has a derivative
    spread = numbers.std(0)
    for part in (slice(0, 6), slice(6, 13)):
        spread[part] = np.maximum(spread[part], 0.03 * spread[part].mean())
    z = np.arcsinh((numbers - numbers.mean(0)) / spread)
    first, bias = network.first.weight.detach().numpy(), network.first.bias.detach().numpy()

    def silu(x: np.ndarray) -> np.ndarray:
        return x / (1 + np.exp(-x))

    with torch.no_grad():
        found = network(clean).numpy()
    for label in range(3):
        own = slice(6 * label, 6 * label + 6)
        hidden = silu(z @ first[own].T + bias[own])
        hidden = silu(hidden @ network.second[label].detach().numpy())
        wanted = hidden @ network.third[label, :, 0].detach().numpy()
        np.testing.assert_allclose(found[:, label], wanted)


def test_classes_have_detectors_of_their_own() -> None:
    network = ShieldNetwork({"a": (3, 5, 4)}, classes=3, hidden=6)
    network.standardise(torch.randn(9, 6))
    network({"a": torch.rand(8, 3, 5, 4)})[:, 1].sum().backward()
    for weight in (network.second, network.third, network.first.weight.unflatten(0, (3, 6))):
        grad = weight.grad if weight.grad is not None else network.first.weight.grad
        assert grad is not None
        parts = grad.reshape(3, -1)
        assert parts[1].any()
        assert not parts[[0, 2]].any()


def test_moments_have_a_derivative_where_nothing_varies() -> None:
    x = torch.ones(2, 3, 4, 4, requires_grad=True)
    moments(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1 / 16))


def test_same_bits_in_any_batch(trained: Shield) -> None:
    check_bits(trained)


def test_gradient_is_the_derivative(trained: Shield) -> None:
    check_gradient(trained)


def test_the_budget_grows_in_equal_parts() -> None:
    module = module_of(shield(), epochs=16)
    found = []
    for module._trainer.current_epoch in range(16):
        found.append(module.budget())
    np.testing.assert_allclose(found, np.arange(1, 17) / 256)
    module._trainer = SimpleNamespace(max_epochs=1, current_epoch=0)
    assert module.budget() == 16 / 256


def test_the_trainings_attack_raises_the_logit_it_aims_at(trained: Shield) -> None:
    victim, _, clean, labels, _, seeds = clinic()
    aims = (labels + 1) % 3
    sight = ShieldSurrogate(victim, trained)
    attack = PGD(8 / 256, steps=6, loss=Clean(), criterion=Highest())
    attacked = attack(sight, clean, aims, seeds=seeds)
    assert (attacked - clean).abs().max() <= 8 / 256 + 1e-6
    before, after = (
        sight(x, seeds).logits.gather(1, aims[:, None])[:, 0] for x in (clean, attacked)
    )
    assert (after > before).float().mean() > 0.95


def test_the_loss_is_equation_3_with_classes_in_balance() -> None:
    """Against its printed form, log σ(S(x)) + log(1 - σ(S(x*))), image by image."""
    found, detector = clinic(), shield()
    train = found.data.dataset("train")
    keep = torch.cat([torch.arange(240)[train.labels == c][:n] for c, n in enumerate((20, 40, 60))])
    data = SplitData({name: (s.images, s.labels) for name, s in found.data.splits.items()})
    data.splits["train"].keep(keep)
    module = module_of(detector, data).eval()
    module.on_fit_start()
    batch, seeds = batch_of(found), torch.arange(len(found.clean))
    aims = module._aims(batch.label, seeds)
    assert (aims != batch.label).all()
    assert set(aims.tolist()) == {0, 1, 2}
    clean, attacked = (part.detach() for part in module._logits(batch, seeds, 4 / 256))
    share, total = [20 / 120, 40 / 120, 60 / 120], 0.0
    for i, (label, aim) in enumerate(zip(batch.label.tolist(), aims.tolist(), strict=True)):
        real = math.log(1 / (1 + math.exp(-clean[i, label])))
        fake = math.log(1 - 1 / (1 + math.exp(-attacked[i, aim])))
        total += real / (3 * share[label]) + fake / (3 * (1 - share[aim]) / 2)
    loss = module._loss(clean, attacked, batch.label, aims)
    assert loss.item() == pytest.approx(-total / len(seeds), rel=1e-5)


def test_features_are_standardised_by_clean_training_images_behind_the_cushion() -> None:
    found, detector = clinic(), shield(cushion=BitDepth(2))
    module = module_of(detector)
    before = torch.get_rng_state()
    module.on_fit_start()
    assert torch.equal(before, torch.get_rng_state())
    x = detector.view(found.data.dataset("train").images, seeds=torch.arange(240))
    numbers = detector.network.describe(found.victim.features(x, TAPS)[1])  # type: ignore[operator,union-attr]
    torch.testing.assert_close(detector.network.centre, numbers.mean(0))
    detector.network.centre[0] = 3.0  # type: ignore[index]
    module.on_fit_start()  # as after an interruption: what is known stays
    assert detector.network.centre[0] == 3.0  # type: ignore[index]


def test_gradients_reach_every_detector_and_not_the_victim() -> None:
    module = module_of(shield()).train()
    module.on_fit_start()
    module.loss(batch_of(clinic())).backward()
    assert all(weight.grad.any() for weight in module.trained() if weight.ndim == 3)
    assert all(weight.grad is None for weight in clinic().victim.parameters())
    assert not clinic().victim.training


def test_measures_are_the_same_every_time() -> None:
    module = module_of(taught(epochs=1)).eval()
    module.on_fit_start()
    with torch.no_grad():
        first, again = (module.measure(batch_of(clinic())) for _ in range(2))
    assert first["loss"] == again["loss"]
    assert set(first) == {"loss", "accuracy"}


def test_it_stands_behind_its_cushion() -> None:
    detector = taught(epochs=1, cushion=BitDepth(2))
    victim, _, clean, _, _, seeds = clinic()
    with torch.no_grad():
        found = detector(clean, victim, seeds=seeds)
        cushioned = BitDepth(2).purify(clean, seeds=seeds)
    assert torch.equal(found.logits, victim(cushioned))
    assert detector.training_settings["cushion"]["bits"] == 2
    assert "tnr" not in detector.training_settings
    grads = []
    for shown in (clean, cushioned):  # BPDA: the derivative at the cushioned image
        x = shown[:6].clone().requires_grad_()
        sight = ShieldSurrogate(victim, detector if shown is clean else copy.deepcopy(detector))
        if shown is cushioned:
            sight.shield.derive(cushion=None)
        grads.append(torch.autograd.grad(sight(x, seeds[:6]).logits.sum(), x)[0])
    torch.testing.assert_close(*grads)


# Training, from its parts to its checkpoint ------------------------------------------------------


def train(path: Any, data: Loaded, victim: Victim, epochs: int = 3, **settings: Any) -> Any:
    return train_defense(
        defense=partial(shield, str(path), **settings),
        victim=lambda: victim,
        data=data,  # type: ignore[arg-type]
        optimizer=lambda weights: torch.optim.Adam(weights, lr=0.01),
        scheduler=None,
        checkpoint=path,
        recipe={},
        seed=0,
        trainer={"accelerator": "cpu", "devices": 1, "max_epochs": epochs},
        logger=NullLogger(),
        progress_bar=False,
    )


def test_a_resumed_training_ends_bit_for_bit_where_an_uninterrupted_one_does(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, data = clinic().victim, data_of(clinic())
    weights = {name: value.clone() for name, value in victim.state_dict().items()}
    meta = train(tmp_path / "whole.ckpt", data, victim)
    assert meta.victim == victim.fingerprint
    assert all(torch.equal(value, weights[name]) for name, value in victim.state_dict().items())
    loss, calls = ShieldModule.loss, []

    def stopped(self: ShieldModule, batch: Sample) -> Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise KeyError("power cut")
        return loss(self, batch)

    monkeypatch.setattr(ShieldModule, "loss", stopped)
    with pytest.raises(KeyError, match="power cut"):
        train(tmp_path / "cut.ckpt", data, victim)
    train(tmp_path / "cut.ckpt", data, victim)
    assert len(calls) == 7 + 8  # the second and the third epoch
    one, other = (read_defense(tmp_path / name) for name in ("whole.ckpt", "cut.ckpt"))
    assert one["fingerprint"] == other["fingerprint"]

    detector = shield(str(tmp_path / "cut.ckpt"))
    detector.fit(victim, data)
    val = data.dataset("val").images
    assert detector(val, victim, seeds=torch.arange(120)).abstain.sum() == 12
    first = detector.fingerprint
    detector.fit(victim, data)
    assert detector.fingerprint == first

    threshold = detector.threshold.clone()
    other_victim = copy.deepcopy(victim)
    with torch.no_grad():
        next(other_victim.parameters()).mul_(1.5)
    with pytest.raises(DefenseError, match=r"was trained for the victim .*, the victim at hand is"):
        detector.fit(other_victim, data)
    with pytest.raises(AlreadyTrainedError, match="victim: "):
        train(tmp_path / "cut.ckpt", data, other_victim)
    with pytest.raises(DefenseError, match=r"steps: 3 -> 4"):
        shield(str(tmp_path / "cut.ckpt"), steps=4).fit(victim, data)
    relaxed = shield(str(tmp_path / "cut.ckpt"), tnr=0.5)
    relaxed.fit(victim, data)
    assert relaxed.threshold < threshold


# Bad input ---------------------------------------------------------------------------------------


def test_untrained_unfitted_and_without_taps() -> None:
    victim, data, clean, _, _, seeds = clinic()
    with pytest.raises(MissingDefenseError, match=r"medrobust train defense=shield data=toy"):
        shield().fit(victim, data)
    untrained = shield()
    module_of(untrained)
    with pytest.raises(UnfittedDetectorError):
        untrained(clean, victim, seeds=seeds)
    with pytest.raises(ValueError, match=r"defense\.taps is empty; name layers out of \['0'"):
        shield(taps=()).inspect_victim(victim, data)
    with pytest.raises(KeyError, match=r"no tap \['layer1'\]; it has \['0', '1'"):
        shield(taps=("layer1",)).inspect_victim(victim, data)


@pytest.mark.parametrize(("left", "message"), [(1, "class 2 has 1"), (0, "class 2 has 0")])
def test_a_class_with_too_few_clean_images(left: int, message: str) -> None:
    images, labels = pictures(60, 0)
    keep = torch.cat([torch.arange(60)[labels < 2], torch.arange(60)[labels == 2][:left]])
    data = SplitData({"train": (images[keep], labels[keep]), "val": (images, labels)})
    with pytest.raises(FitError, match=f"{message} clean images in split train.*limit_train"):
        module_of(shield(), data)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"hidden": 0}, "hidden"),
        ({"eps": 0}, "eps"),
        ({"eps": "2/256", "eps_first": "4/256"}, "eps_first"),
        ({"steps": 0}, "steps"),
        ({"step_size": -1}, "step_size"),
    ],
)
def test_bad_settings(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(NumberError, match=rf"defense\.{key}"):
        shield(**settings)
