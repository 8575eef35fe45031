import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.apgd import APGD
from medrobust.attack.core.loss import Loss
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.attack.loss.rescaled import Rescaled
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

SEEDS = torch.arange(8)
Y = torch.arange(8) % 3


class First(nn.Module):
    """Logits (N, 3[, 1, W]) are the first row's first three pixels, or each pixel's channels."""

    def __init__(self, scale: float, dense: bool = False) -> None:
        super().__init__()
        self.scale, self.dense = scale, dense

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x if self.dense else x.flatten(1)[:, :3])


def surrogate(scale: float, dense: bool = False) -> VictimSurrogate:
    victim = Victim(First(scale, dense), mean=[0.0] * 3, std=[1.0] * 3, architecture={})
    return VictimSurrogate(victim.freeze())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 3, 2, 3, generator=torch.Generator().manual_seed(0))


def bound(loss: Loss, seen: Surrogate, x: Tensor, y: Tensor = Y) -> Loss:
    return loss.bind(seen, x, y, SEEDS, targeted=False)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_the_scale_of_the_logits_has_no_say(scale: float, images: Tensor) -> None:
    """The clean image's logits span `spread`, and others are measured by the same rod."""
    seen, other = surrogate(scale), images.flip(2)
    rule = bound(Rescaled(spread=7.0), seen, images)
    clean, moved = (image.flatten(1)[:, :3] for image in (images, other))
    rod = 7 / (clean.amax(1) - clean.amin(1))
    wanted = F.cross_entropy(moved * rod[:, None], Y, reduction="none")
    torch.testing.assert_close(rule.away(seen(other, SEEDS), Y), wanted)
    torch.testing.assert_close(rule.toward(seen(other, SEEDS), Y), -wanted)
    part = torch.tensor([5, 2, 2])
    torch.testing.assert_close(rule.at(part).away(seen(other[part], SEEDS), Y[part]), wanted[part])


def test_masks_have_one_scale_per_image(images: Tensor) -> None:
    seen, y = surrogate(1e4, dense=True), torch.zeros(8, 2, 3, dtype=torch.int64)
    rule = bound(Rescaled(Margin(), spread=5.0), seen, images, y)
    spread = (images.amax(1) - images.amin(1)).mean((1, 2))
    lead = images[:, 0] - images[:, 1:].amax(1)
    wanted = -5 * lead.mean((1, 2)) / spread
    torch.testing.assert_close(rule.away(seen(images, SEEDS), y), wanted)


def test_flat_logits_stay_finite(images: Tensor) -> None:
    seen = surrogate(0.0)
    found = APGD(0.1, steps=3, loss=Rescaled())(seen, images, Y, seeds=SEEDS)
    assert found.isfinite().all()


def test_it_must_be_bound_to_a_batch() -> None:
    with pytest.raises(RuntimeError, match="call bind"):
        Rescaled().away(Prediction(torch.zeros(8, 3)), Y)
    with pytest.raises(RuntimeError, match="call bind"):
        Rescaled().at(torch.tensor([0]))


@pytest.mark.parametrize("spread", [0, -1, 100, "wide"])
def test_bad_spread_is_refused(spread: float) -> None:
    with pytest.raises(ValueError, match=r"loss\.spread="):
        Rescaled(spread=spread)


def test_what_is_inside_is_asked_and_told(images: Tensor) -> None:
    class Inside(CrossEntropy):
        learns = True
        taps = ("layer",)
        told: tuple[str, ...] = ()

        def fit(self, surrogate: Surrogate, data: object) -> None:
            self.told += ("fit",)

        def bind(self, *args: object, targeted: bool) -> "Inside":
            self.told += (f"bind {targeted}",)
            return self

        def at(self, index: Tensor) -> "Inside":
            self.told += ("at",)
            return self

    inside = Inside()
    rule = Rescaled(inside)
    assert rule.learns
    assert rule.taps == ("layer",)
    assert not Rescaled().learns
    rule.fit(surrogate(1.0), None)
    wide = VictimSurrogate(surrogate(1.0).victim)
    wide.forward = lambda x, seeds, taps=(): Prediction(wide.victim(x))  # type: ignore[method-assign]
    rule.bind(wide, images, Y, SEEDS, targeted=True).at(torch.tensor([1]))
    assert inside.told == ("fit", "bind True", "at")
    assert rule.settings["loss"]["class"].endswith("Inside")
    assert rule.scale is None  # binding made a copy
