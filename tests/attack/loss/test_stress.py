from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from medrobust.attack.bim import BIM
from medrobust.attack.loss.stress import LossOnly, Stress
from medrobust.attack.target.next_class import NextClass
from medrobust.threat.surrogate import VictimSurrogate

CONF = str(Path(__file__).parents[3] / "conf")
EPS = "4/256"


def means(surrogate: VictimSurrogate, x: Tensor, tap: str) -> Tensor:
    with torch.no_grad():
        return surrogate.victim.features(x, [tap])[1][tap].flatten(1).mean(1)


def attack(direction: str, tap: str | None, steps: int = 10) -> BIM:
    loss = Stress(direction, None if tap is None else [tap])
    return BIM(EPS, steps=steps, loss=loss, criterion=LossOnly())


@pytest.mark.parametrize("tap", ["2", "4", "6", None])
def test_the_mean_goes_where_it_is_told(
    tap: str | None, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:30], labels[:30], seeds[:30]
    layer = tap or "6"  # what feeds the classifier
    up, down = (
        means(surrogate, attack(way, tap)(surrogate, x, y, seeds=s), layer)
        for way in ("up", "down")
    )
    clean = means(surrogate, x, layer)
    assert (up > clean).all()
    assert (down < clean).all()
    size = clean.abs().mean()
    assert (up - clean).mean() > 0.01 * size
    assert (clean - down).mean() > 0.01 * size


def test_more_steps_never_lose_the_best_mean(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """With the usual rule of success a fooled image would stand above a better mean."""
    x, y, s = images[:60], labels[:60], seeds[:60]
    wrong = (y + 1) % 3  # so that nearly all count as fooled from the start
    ours = attack("up", "4")(surrogate, x, wrong, seeds=s)
    assert torch.equal(ours, attack("up", "4")(surrogate, x, y, seeds=s))  # no label enters


def test_value_is_the_mean_over_everything(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:5], labels[:5]
    for way, sign in (("up", 1), ("down", -1)):
        bound = Stress(way, ["2", "6"]).bind(surrogate, x, y, seeds[:5], targeted=False)
        with torch.no_grad():
            value = bound.away(surrogate(x, seeds[:5], bound.taps), y)
        wanted = means(surrogate, x, "2") + means(surrogate, x, "6")
        torch.testing.assert_close(value, sign * wanted)


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 8, 10, generator=torch.Generator().manual_seed(0))
    y, seeds = torch.zeros(4, 8, 10, dtype=torch.int64), torch.arange(4)
    found = attack("up", "layers.1")(pixel_surrogate, x, y, seeds=seeds)
    assert (means(pixel_surrogate, found, "layers.1") > means(pixel_surrogate, x, "layers.1")).all()


def test_a_target_is_refused(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    targeted = BIM(EPS, steps=1, loss=Stress(), target=NextClass())
    with pytest.raises(ValueError, match="set attack/target=null"):
        targeted(surrogate, images[:2], labels[:2], seeds=seeds[:2])


def test_bad_settings_are_refused(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"attack\.loss\.direction='left'.*'down', 'up'"):
        Stress("left")
    with pytest.raises(KeyError, match="victim has no tap"):
        attack("up", "layer9")(surrogate, images[:2], labels[:2], seeds=seeds[:2])


@pytest.mark.parametrize("direction", ["up", "down"])
def test_config(direction: str) -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        words = ["+attack=stress/mean"]
        made = instantiate(compose(overrides=[*words, f"attack.loss.direction={direction}"]).attack)
    assert isinstance(made, BIM)
    assert isinstance(made.loss, Stress)
    assert isinstance(made.criterion, LossOnly)
    assert made.eps == 4 / 256
    assert made.loss.sign == {"up": 1, "down": -1}[direction]
