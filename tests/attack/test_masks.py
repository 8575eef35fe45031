"""Every attack of conf/attack on a segmenter, by both losses of the task; DDN by its success."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.every_pixel import EveryPixel
from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.ddn import DDN
from medrobust.attack.loss.dice import Dice
from medrobust.attack.loss.margin import Margin
from medrobust.metric.overlap import overlap
from medrobust.model.core.victim import Victim
from medrobust.resolvers import register
from medrobust.threat.surrogate import VictimSurrogate

CONF = Path(__file__).parents[2] / "conf"
FEW = {"steps": 6, "queries": 60, "samples": 8, "neighbours": 3, "copies": 2, "epochs": 1}
"""Smaller than in the configs."""
NEEDS_MORE = {"external", "none", "uap", "fea"}
"""Another library, nothing, training data, and the name of a layer."""
CW = {"steps": 40, "lr": 0.05, "initial_const": 10.0, "binary_search_steps": 2}
SMALL = {
    "cw_l2": CW,
    "tim": {"kernel_size": 3},
    "square": {"eps": 0.3},
    "ddn": {"eps": 2.0},
    "fmn": {"eps": 2.0},
}
NAMES = sorted(
    path.stem for path in (CONF / "attack").glob("*.yaml") if path.stem not in NEEDS_MORE
)


@pytest.fixture(scope="module")
def configs() -> Iterator[dict[str, DictConfig]]:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield {name: compose(overrides=[f"+attack={name}", "+eps=0.1"]).attack for name in NAMES}


@pytest.fixture(scope="module")
def batch(pixel_surrogate: VictimSurrogate) -> tuple[Tensor, Tensor, Tensor]:
    """Images, and the masks that the model gives them: it is right everywhere."""
    x = torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        return x, pixel_surrogate.victim(x).argmax(1), torch.arange(4)


def made(config: DictConfig, name: str, **more: Any) -> Attack:
    keys = {key: value for key, value in FEW.items() if key in config} | SMALL.get(name, {})
    attack = instantiate(config, **(keys | more))
    assert isinstance(attack, Attack)
    return attack


def jaccard(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return overlap(victim(x).argmax(1), y, 3).jaccard


@pytest.mark.parametrize("name", NAMES)
def test_masks_are_attacked_by_either_loss_or_refused(
    name: str,
    configs: dict[str, DictConfig],
    pixel_surrogate: VictimSurrogate,
    batch: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, y, seeds = batch
    config = configs[name]
    attack = made(config, name)
    if not attack.dense:
        with pytest.raises(AttackError, match="one label per image"):
            attack(pixel_surrogate, x, y, seeds=seeds)
        return
    losses = [Dice()] if attack.needs_gradient and "loss" in config else []
    for loss in (None, *losses):
        attack = made(config, name, **({} if loss is None else {"loss": loss}))
        found = attack(pixel_surrogate, x, y, seeds=seeds)
        assert found.shape == x.shape
        if attack.eps is not None:
            assert distance(x, found, attack.norm).max() <= attack.eps * (1 + 1e-5)
        assert jaccard(pixel_surrogate.victim, found, y).mean() < 0.97


class Planes(nn.Module):
    """Two classes at each pixel, by the sum of its own colours: known distances."""

    def forward(self, x: Tensor) -> Tensor:
        grey = x.sum(1, keepdim=True)
        return torch.cat([1.5 - grey, grey - 1.5], 1)


@pytest.fixture(scope="module")
def planes() -> tuple[VictimSurrogate, Tensor, Tensor, Tensor]:
    """The victim, images, their masks, and each pixel's distance to the other class."""
    victim = Victim(Planes(), mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()
    x = 0.3 + 0.4 * torch.rand(5, 3, 5, 6, generator=torch.Generator().manual_seed(2)).double()
    y = victim(x).argmax(1)
    return VictimSurrogate(victim), x, y, (x.sum(1) - 1.5).abs() / 3**0.5


def test_ddn_nears_the_nearest_image_with_no_right_pixel(
    planes: tuple[VictimSurrogate, Tensor, Tensor, Tensor],
) -> None:
    """That moves each pixel to its own plane: the distances add up as squares. The margin lets go
    of a pixel that is wrong; cross-entropy pushes it on, at the cost of distance."""
    surrogate, x, y, away = planes
    ratio = []
    for loss in (Margin(0.0), None):
        attack = DDN(steps=300, gamma=0.02, criterion=EveryPixel(), loss=loss)
        found = attack(surrogate, x, y, seeds=torch.arange(5))
        assert (surrogate.victim(found).argmax(1) != y).all()
        ratio.append(distance(x, found, "l2") / away.flatten(1).square().sum(1).sqrt())
    assert 1 - 1e-6 <= ratio[0].min() <= ratio[0].max() < 1.1
    assert (ratio[1] > 1.5 * ratio[0]).all()


def test_ddn_by_jaccard_needs_less_the_higher_the_level(
    planes: tuple[VictimSurrogate, Tensor, Tensor, Tensor],
) -> None:
    """And never less than what takes as many pixels as the level wants lost, the nearest ones."""
    surrogate, x, y, away = planes
    used = []
    for level in (0.25, 0.5, 0.75):
        rule = JaccardBelow(level)
        found = DDN(steps=100, criterion=rule)(surrogate, x, y, seeds=torch.arange(5))
        counts = overlap(surrogate.victim(found).argmax(1), y, 2)
        assert (counts.jaccard < level).all()
        assert (counts.jaccard > level - 0.2).all()  # it stops near the boundary
        changed = (surrogate.victim(found).argmax(1) != y).flatten(1).sum(1)
        least = away.flatten(1).sort(1).values.square().cumsum(1).gather(1, changed[:, None] - 1)
        used.append(distance(x, found, "l2"))
        assert (used[-1] >= least[:, 0].sqrt() - 1e-6).all()
    assert (used[0] > used[1]).all()
    assert (used[1] > used[2]).all()


def test_on_one_pixel_it_is_the_attack_on_a_class(
    planes: tuple[VictimSurrogate, Tensor, Tensor, Tensor],
) -> None:
    """Which is compared with adv_lib's and foolbox's in test_ddn."""
    dense, x, y, _ = planes
    x, y, seeds = x[..., :1, :1], y[:, :1, :1], torch.arange(5)

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return dense.victim.network(x).flatten(1)

    victim = Victim(Flat(), mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()
    expected = DDN(steps=40, criterion=Misclassified())(
        VictimSurrogate(victim), x, y[:, 0, 0], seeds=seeds
    )
    assert torch.equal(DDN(steps=40, criterion=EveryPixel())(dense, x, y, seeds=seeds), expected)
