"""Trap 8: a table of pixel values that rises by falling."""

import torch
from torch import Tensor

from medrobust.defense.core.base import StraightThroughPurifier
from tests.support.traps.margin import box, least_lead
from tests.support.traps.scene import (
    PIXELS,
    clear,
    generator,
    head,
    uniform_images,
    victim_of,
)
from tests.support.traps.trap import Trap

BAND, CLASSES, EPS, GAP = 64, 3, 8 / 255, 0.03


class Palette(StraightThroughPurifier):
    """Looks every 8-bit value up in a table: bands in rising order, each of them reversed.

    Args:
        band: values per band.
    """

    table: Tensor

    def __init__(self, band: int = BAND) -> None:
        super().__init__()
        value = torch.arange(256)
        turned = value // band * band + (band - 1 - value % band)
        self.register_buffer("table", turned / 255)

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the table's values."""
        return self.table[(255 * x).round().long()]


def build() -> Trap:
    """Make a linear score of the table's values, each of which has its own reachable range."""
    within = uniform_images(8, 55, 71)
    band = torch.randint(0, 256 // BAND, within.shape, generator=generator(72))
    x = (BAND * band + within) / 255
    weight = torch.randn(CLASSES, PIXELS, generator=generator(73)) / PIXELS**0.5
    defense = Palette()
    seen = defense.purify(x, seeds=torch.arange(len(x)))
    network = head(weight, seen)
    victim = victim_of(network)
    with torch.no_grad():
        y = victim(seen).argmax(1)
    rows = network[1].weight.detach(), network[1].bias.detach()
    margins = []
    for eps in (0.0, EPS):
        low, high = ((255 * end).round().long() for end in box(x, eps))
        margins.append(least_lead(*rows, *extremes(defense.table.double(), low, high), y))
    kept = clear(*margins, GAP)

    def gain(image: Tensor, label: Tensor) -> Tensor:
        fixed = defense.table[(255 * image.detach()).round().long()]
        logits = victim(fixed - (image - image.detach()))
        own = logits.gather(1, label[:, None])[:, 0]
        return logits.scatter(1, label[:, None], -torch.inf).amax(1) - own

    return Trap(
        "lookup",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        (margins[1][kept] > 0).double(),
        "the table falls where the identity, the stand-in of its gradient, rises",
        gain,
    )


def extremes(table: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and the largest entry of the table between two indices, elementwise."""
    least, most = table[low], table[low]
    for step in range(1, int((high - low).max()) + 1):
        entry = table[(low + step).minimum(high)]
        least, most = least.minimum(entry), most.maximum(entry)
    return least, most
