"""What every defense of conf/defense must do, as one table of properties.

The configs are listed from the folder, so a new one is covered by being there. One that must be
trained first is tested with weights as drawn, which is enough for all but an attacker's success.
"""

import copy
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.pgd import PGD
from medrobust.configured import Configured
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense, Purifier, Smoother
from medrobust.defense.core.checkpoint import DefenseMeta
from medrobust.defense.core.detector import Detector
from medrobust.defense.core.learned import Learned
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise, Noise
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.resolvers import register
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.support.clinic import SplitData
from tests.support.kinds import one_of_each, slow_unless

CONF = Path(__file__).parents[2] / "conf"
PARTS = ("noise", "denoiser", "cushion", "estimator")
"""Folders of conf/defense that hold parts of a defense."""
FEW = {"copies": 16, "n0": 8, "chunk": 40, "steps": 2, "iterations": 6, "width": 0.25}
"""Smaller than in the configs: it changes no property."""
HERE = {"taps": ["act"], "target": "act", "fits": None}
"""Layers that the victim of these tests has; nothing is written."""
INEXACT = ("StraightThroughPurifier", "PoissonNoise", "ComDefend", "Median")
"""Classes that state another gradient than the derivative of their forward pass."""
NAMES = sorted(
    name
    for path in (CONF / "defense").rglob("*.yaml")
    if (name := path.relative_to(CONF / "defense").with_suffix("").as_posix()).split("/")[0]
    not in PARTS
)
KINDS = {
    *("jpeg", "median", "random_resize_pad", "medrdf", "randomized_smoothing"),
    *("zo_ds/single_pass", "feature_squeezing", "maha", "comdefend"),
}
"""A gradient of its own, an exact one, a random size, a vote, a certified vote, a denoiser, a
detector by squeezed images and one by features, and networks of its own."""
REPEATED = {
    *("denoised_smoothing", "zo_ds", "zo_ds/cge", "zo_ds/single_pass_cge"),
    *("zo_ae_ds", "zo_ae_ds/cge", "zo_ae_ds/single_pass_cge"),
}
"""Votes over a denoiser, and variants: their `single_pass` is the same classes with one copy."""
every = pytest.mark.parametrize("name", NAMES)
kinds = pytest.mark.parametrize("name", one_of_each(NAMES, KINDS))
SHAPES = [(3, 16, 16), (1, 16, 16), (3, 20, 13), (1, 9, 24)]
COUNT, CLASSES = 6, 4
CONTEXT = ["+paths.checkpoints=nowhere", "+data.key=toy", "+data.name=toy", "+defense_seed=0"]
CONTEXT += ["+model.name=resnet18", "+objective.name=standard", "+victim_seed=0"]
"""What configs of defenses that learn point to."""


@cache
def configs() -> dict[str, DictConfig]:
    """Every defense's config, resolved, with few copies."""
    found = {}
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        keys = OmegaConf.load(CONF / "evaluate.yaml")
        numbers = [f"+{key}={keys[key]}" for key in ("copies", "stopping", "seed") if key in keys]
        for name in NAMES:
            config = compose(overrides=[f"+defense={name}", *numbers, *CONTEXT])
            config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
            for key in FEW.keys() & config.defense.keys():
                config.defense[key] = FEW[key]
            for key in HERE.keys() & config.defense.keys():
                config.defense[key] = HERE[key]
            found[name] = config.defense
    return found


@cache
def build(name: str, channels: int = 3) -> Defense:
    """The config's defense; one that learns, with networks for so many channels.

    A detector has its threshold, of images that are drawn as those of the tests.
    """
    defense = instantiate(configs()[name])
    assert isinstance(defense, Defense)
    splits = {
        split: (draw(count, channels, 16, 16)[0], torch.arange(count) % CLASSES)
        for split, count in (("train", 60), ("val", 40))
    }
    data = SplitData(splits)
    for part in defense.modules():
        if isinstance(part, Learned):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                part.inspect_victim(toy_victim(), data)
                part.build(channels)
            part.meta = DefenseMeta(**{field.name: "" for field in fields(DefenseMeta)})
            part.eval().requires_grad_(False)
    if isinstance(defense, Detector):
        Detector.fit(defense, toy_victim(), data)  # a learned one has nothing to load
    return defense


def learns(defense: Defense) -> bool:
    """Whether it has weights of its own, here as drawn."""
    return any(isinstance(part, Learned) for part in defense.modules())


class PooledNet(nn.Module):
    """Images of any size -> logits; the same bits for an image in any batch."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(12, 192, generator=generator) / 4)
        self.second = nn.Parameter(torch.randn(CLASSES, 12, generator=generator))
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        seen = F.adaptive_avg_pool2d(x, 8).flatten(1)
        hidden = self.act((seen.unsqueeze(1) * self.first).sum(2))
        return (hidden.unsqueeze(1) * self.second).sum(2)


@cache
def toy_victim() -> Victim:
    return Victim(PooledNet(), mean=[0.5] * 3, std=[0.25] * 3, architecture={}).freeze()


@pytest.fixture(scope="module")
def victim() -> Victim:
    return toy_victim()


def draw(count: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Images with smooth and rough parts, black and white among them; and their seeds."""
    generator = torch.Generator().manual_seed(sum(shape))
    coarse = torch.rand(count, shape[0], 4, 4, generator=generator)
    smooth = F.interpolate(coarse, shape[1:], mode="bicubic")
    rough = torch.randn(count, *shape, generator=generator)
    x = (0.5 + 1.1 * (smooth - 0.5) + 0.08 * rough).clamp(0, 1)
    return x, sample_seeds(shape[1], [f"image/{i}" for i in range(count)])


def same(first: Prediction, second: Prediction, rows: Any = slice(None)) -> bool:
    """Whether all fields of `first[rows]` and `second` have the same bits."""
    for field in fields(Prediction):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, Tensor) and not torch.equal(a[rows] if a.ndim else a, b):
            return False
    return True


def refuses(defense: Defense, x: Tensor, seeds: Tensor) -> bool:
    """Whether the defense does not take images of this shape."""
    try:
        defense.view(x, seeds=seeds)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        slow_unless(shape == SHAPES[0] or name in KINDS, name, shape, id=f"{shape}-{name}")
        for name in NAMES
        for shape in SHAPES
    ],
)
def test_answers_for_every_image_or_says_why_not(
    name: str, shape: tuple[int, ...], victim: Victim
) -> None:
    x, seeds = draw(COUNT, *shape)
    defense = build(name, shape[0])
    with torch.no_grad():
        if refuses(defense, x, seeds):
            assert shape != (3, 16, 16), "every defense takes square colour images of 16 pixels"
            named = "|".join(map(str, shape))
            with pytest.raises(ValueError, match=rf"\b({named})\b"):  # says what was wrong
                defense(x, victim, seeds=seeds)
            return
        found, shown = defense(x, victim, seeds=seeds), defense.view(x, seeds=seeds)
    assert found.logits.shape == (COUNT, CLASSES)
    for value in (found.logits, shown):
        assert value.dtype == torch.float32
        assert value.isfinite().all()
    assert shown.shape == x.shape
    assert shown.min() >= 0
    assert shown.max() <= 1
    for extra in (found.score, found.confidence, found.abstain):
        assert extra is None or extra.shape == (COUNT,)


@every
def test_the_same_bits_in_any_batch_and_order(name: str, victim: Victim) -> None:
    x, seeds = draw(COUNT, 3, 16, 16)
    defense = build(name)
    with torch.no_grad():
        whole, shown = defense(x, victim, seeds=seeds), defense.view(x, seeds=seeds)
        batches = [torch.arange(COUNT - 1, -1, -1), *torch.arange(COUNT).split([1, 2, 3])]
        for rows in [*batches, torch.tensor([0, 0, 5, 2])]:
            assert same(whole, defense(x[rows], victim, seeds=seeds[rows]), rows)
            assert torch.equal(shown[rows], defense.view(x[rows], seeds=seeds[rows]))
        last = x.to(memory_format=torch.channels_last)
        assert (defense.view(last, seeds=seeds) - shown).abs().max() < 1e-5


@every
def test_random_exactly_when_it_says_so(name: str, victim: Victim) -> None:
    x, seeds = draw(COUNT, 3, 16, 16)
    defense, others = build(name), fold_in(seeds, 1)
    with torch.no_grad():
        first = defense.view(x, seeds=seeds)
        drawn = [defense.view(x, seeds=fold_in(seeds, i)) for i in range(1, 4)]
        if defense.random:  # one draw may equal another, of few sizes
            moved = [(first != again).flatten(1).any(1) for again in drawn]
            assert torch.stack(moved).any(0).sum() > COUNT // 2
        else:
            assert torch.equal(first, drawn[0])
            assert same(*(defense(x, victim, seeds=s) for s in (seeds, others)))


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        slow_unless(
            mode is torch.enable_grad or name in KINDS, name, mode, id=f"{name}-{mode.__name__}"
        )
        for name in NAMES
        for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode)
    ],
)
def test_nothing_left_behind(
    name: str, mode: Callable[[], torch.autograd.grad_mode.no_grad], victim: Victim
) -> None:
    x, seeds = draw(COUNT, 3, 16, 16)
    defense = build(name)
    with torch.no_grad():
        expected = defense(x, victim, seeds=seeds)
    before = [x.clone(), seeds.clone()]
    weights = copy.deepcopy(victim.state_dict())
    prints = victim.fingerprint, defense.fingerprint
    torch.manual_seed(11)
    rng = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with mode():
        assert same(expected, defense(x, victim, seeds=seeds))
    assert all(map(torch.equal, before, [x, seeds]))
    assert all(torch.equal(weights[key], value) for key, value in victim.state_dict().items())
    assert prints == (victim.fingerprint, defense.fingerprint)
    assert not any(module.training for module in victim.modules())
    assert not any(weight.requires_grad for weight in victim.parameters())
    assert all(weight.grad is None for weight in [*victim.parameters(), *defense.parameters()])
    assert torch.equal(rng[0], torch.get_rng_state())
    assert np.array_equal(rng[1], np.random.get_state()[1])
    assert rng[2] == random.getstate()


OTHER: dict[str, list[Any]] = {
    "subsampling": ["4:4:4"],
    "stopping": ["sequential"],
    "decide": ["label"],
    "checkpoint": ["elsewhere"],
    "fits": ["elsewhere"],
    "target": ["elsewhere"],
    "name": ["other"],
    "eps_first": ["2/256"],
}
"""Other values of arguments that are words, by argument."""


def others(key: str, value: Any) -> Iterator[Any]:
    """Other values that an argument might take."""
    yield from OTHER.get(key, [])
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int | float):
        yield from (value + 1, value + 2, value - 1, value * 0.9, value * 0.5)
    elif isinstance(value, str):
        yield from ("9/10", "11/10") if "/" in value else ()
    elif isinstance(value, Noise):
        yield GaussianNoise(0.123)
    elif isinstance(value, Purifier):
        yield BitDepth(3)
    elif value is None:
        yield from (1, BitDepth(3))
    elif isinstance(value, Sequence):
        yield from (list(value[1:]), list(value[:-1]))
    elif isinstance(value, Configured):
        parts = (remade(value, part) for part in value._captured if part not in value.unscientific)
        yield from (part for part in parts if part is not None)


def remade(made: Configured, key: str) -> Configured | None:
    """The same with another value of one argument, if one is found."""
    arguments = made._captured  # type: ignore[attr-defined]
    for value in others(key, arguments[key]):
        try:
            return type(made)(**arguments | {key: value})
        except (ValueError, TypeError):
            continue
    return None


@every
def test_fingerprint_knows_what_is_science(name: str) -> None:
    defense = build(name)
    arguments = defense._captured  # type: ignore[attr-defined]
    assert type(defense)(**arguments).settings == defense.settings
    for key in arguments:
        changed = remade(defense, key)
        assert changed is not None, f"no other value of {key} is known: add one to OTHER"
        science = key not in defense.unscientific
        assert (changed.settings != defense.settings) is science, key


@kinds
def test_copies_answer_alike(name: str, victim: Victim) -> None:
    x, seeds = draw(COUNT, 3, 16, 16)
    defense = build(name)
    for twin in (copy.deepcopy(defense), pickle.loads(pickle.dumps(defense))):
        assert twin.fingerprint == defense.fingerprint
        with torch.no_grad():
            assert same(defense(x, victim, seeds=seeds), twin(x, victim, seeds=seeds))


@every
def test_proxy_passes_forward_as_deployed(name: str, victim: Victim) -> None:
    """One draw of a vote; else the very answer, up to the rounding of x + (x' - x)."""
    x, seeds = draw(COUNT, 3, 16, 16)
    defense = build(name)
    with torch.no_grad():
        found = defense.proxy(x, victim, seeds=seeds).logits
        if isinstance(defense, Smoother):
            expected = victim(defense.sample(x, seeds=seeds))
        else:
            expected = defense(x, victim, seeds=seeds).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@every
def test_a_gradient_reaches_every_image(name: str, victim: Victim) -> None:
    x, seeds = draw(COUNT, 3, 16, 16)
    defense = build(name)
    surrogate = Adaptive(eot_samples=4)(victim, defense)
    with torch.no_grad():
        goal = Goal(CrossEntropy(), Misclassified(), victim(x).argmax(1))
    found = surrogate.value_and_grad(x, goal, seeds=seeds)
    assert found.grad.isfinite().all()
    assert (found.grad.flatten(1).norm(dim=1) > (1e-9 if learns(defense) else 1e-5)).all()


def exact(part: Any) -> bool:
    """Whether a defense and its parts promise the derivative of their forward pass."""
    if {kind.__name__ for kind in type(part).__mro__} & set(INEXACT):
        return False
    parts = part._captured.values()
    return all(exact(value) for value in parts if isinstance(value, Configured))


@pytest.mark.parametrize("name", one_of_each(NAMES, set(NAMES) - REPEATED))
def test_gradient_is_the_derivative(name: str, victim: Victim) -> None:
    """Along random directions, in float64; and is not where a defense promises another one."""
    defense = build(name)
    seeds = draw(COUNT, 3, 16, 16)[1]
    exact_defense, double = copy.deepcopy(defense).double(), copy.deepcopy(victim).double()
    generator = torch.Generator().manual_seed(4)  # no ties between neighbours, no black, no white
    x = 0.1 + 0.8 * torch.rand(COUNT, 3, 16, 16, generator=generator, dtype=torch.float64)
    x.requires_grad_()

    def loss(x: Tensor) -> Tensor:
        return exact_defense.proxy(x, double, seeds=seeds).logits[:, 0]

    value = loss(x)
    assert value.dtype == torch.float64
    (grad,) = torch.autograd.grad(value.sum(), x)
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        step = 1e-7
        with torch.no_grad():
            slope = (loss(x + step * way) - loss(x - step * way)) / (2 * step)
        close = torch.isclose((grad * way).sum((1, 2, 3)), slope, rtol=1e-4, atol=1e-5)
        # One image may stand at a kink, such as clipped noise.
        assert (close.sum() >= COUNT - 1) == exact(defense)


TRAINED = {path.stem for path in (CONF / "recipe").glob("*.yaml")} - {"default", "medrdf", "robust"}
"""Each defense with weights of its own has a recipe of its name; here its weights are as drawn."""


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "/" not in name and name not in TRAINED]
)
def test_knowing_the_defense_does_not_weaken_the_attacker(name: str, victim: Victim) -> None:
    defense, attack = build(name), PGD(4 / 255, steps=6)
    assert not learns(defense)
    x, seeds = draw(24, 3, 16, 16)

    def trust(x: Tensor) -> Tensor:
        """The deployed defense's probability of the class that it gives to the clean image.

        A randomized defense's is a mean over four responses, which one draw of a few copies moves
        by as much as the two attackers differ.
        """
        with torch.no_grad():
            answers = [
                defense(x, victim, seeds=fold_in(seeds, 2 + draw)).logits.softmax(1)
                for draw in range(4 if defense.random else 1)
            ]
        return torch.stack(answers).mean(0).gather(1, y[:, None]).mean()

    with torch.no_grad():
        y = defense(x, victim, seeds=fold_in(seeds, 2)).label
    unaware, aware = (
        trust(attack(threat(victim, defense), x, y, seeds=fold_in(seeds, 1)))
        for threat in (Oblivious(), Adaptive(eot_samples=4))
    )
    assert aware < unaware + 0.05
    assert aware < trust(x) - 0.05


@pytest.mark.parametrize("make", [lambda: MedRDF(GaussianNoise(), BitDepth(2), copies=4)])
def test_a_vote_passes_straight_through_its_denoiser(
    make: Callable[[], Defense], victim: Victim
) -> None:
    """A denoiser without a useful gradient has BPDA's inside a vote too."""
    x, seeds = draw(COUNT, 3, 16, 16)
    goal = Goal(CrossEntropy(), Misclassified(), victim(x).argmax(1))
    found = Adaptive(eot_samples=4)(victim, make()).value_and_grad(x, goal, seeds=seeds)
    assert (found.grad.flatten(1).norm(dim=1) > 1e-5).all()
