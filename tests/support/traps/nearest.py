"""Trap 5: the vote of the nearest prototypes in the victim's output."""

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from tests.support.traps.scene import (
    clear,
    direction,
    generator,
    head,
    uniform_images,
    victim_of,
)
from tests.support.traps.trap import Trap

BANDS, PER_BAND, NEIGHBOURS, SHARP = 6, 100, 75, 1e-6
EPS, GAP, SPREAD = 0.009, 0.06, 6.0


class NearestVote(Defense):
    """Answers with the votes of the prototypes nearest to the victim's logit.

    Prototypes lie along the logit in bands of width one, whose classes alternate. A prototype
    votes by a sigmoid of how much nearer it is than the border behind the last of the nearest ones;
    at this temperature that is zero or one.

    Args:
        neighbours: prototypes that vote.
        temperature: of the sigmoid, in units of the logit.
    """

    places: Tensor
    classes: Tensor

    def __init__(self, neighbours: int = NEIGHBOURS, temperature: float = SHARP) -> None:
        super().__init__()
        self.neighbours, self.temperature = neighbours, temperature
        band = torch.arange(BANDS).repeat_interleave(PER_BAND)
        within = torch.rand(BANDS, PER_BAND, generator=generator(41)).sort(1).values.flatten()
        self.register_buffer("places", band + within - BANDS / 2)
        self.register_buffer("classes", torch.nn.functional.one_hot(band % 2, 2).float())

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the votes (N, 2) as logits."""
        away = (victim(x)[:, 1:] - self.places).abs()
        border = away.sort(1).values[:, self.neighbours - 1 : self.neighbours + 1].mean(1)
        vote = torch.sigmoid((border[:, None] - away) / self.temperature)
        return Prediction(vote @ self.classes)


def build() -> Trap:
    """Make a one-dimensional embedding, over which the vote is piecewise constant."""
    x = uniform_images(0.2, 0.8, 42)
    weight = SPREAD * direction(43)
    network = head(weight[None], x)
    victim = victim_of(network)
    defense = NearestVote()
    layer = network[1]
    with torch.no_grad():
        z = (x.flatten(1).double() @ layer.weight.double().T + layer.bias.double())[:, 0]
    edges, classes = pieces(defense)
    y = classes[torch.searchsorted(edges, z)]
    away = to_other(edges, classes, z, y)
    kept = clear(away, away - EPS * weight.double().abs().sum(), GAP)
    robust = away[kept] > EPS * weight.double().abs().sum()

    def gain(image: Tensor, label: Tensor) -> Tensor:
        near = torch.softmax(-(victim(image)[:, 1:] - defense.places).abs() / 0.1, dim=1)
        votes = near @ defense.classes
        return votes.gather(1, 1 - label[:, None])[:, 0]

    return Trap(
        "nearest",
        victim,
        defense,
        x[kept],
        y[kept],
        EPS,
        robust.double(),
        "votes are counted: a saturated sigmoid has derivative zero",
        gain,
    )


def pieces(defense: NearestVote) -> tuple[Tensor, Tensor]:
    """Return the sorted edges (E,) of the vote along the logit, and its classes (E + 1,).

    The nearest of sorted prototypes are neighbours of each other; the first of them gives way to
    the next one behind the last at the midpoint of the two.
    """
    places = defense.places.double()
    edges = (places[: -defense.neighbours] + places[defense.neighbours :]) / 2
    windows = defense.classes[:, 1].unfold(0, defense.neighbours, 1).sum(1)
    return edges, (windows > defense.neighbours / 2).long()


def to_other(edges: Tensor, classes: Tensor, z: Tensor, y: Tensor) -> Tensor:
    """Return how far (N,) each logit is from the nearest piece of another class."""
    low = torch.cat([edges.new_tensor([-torch.inf]), edges])
    high = torch.cat([edges, edges.new_tensor([torch.inf])])
    away = (low - z[:, None]).maximum(z[:, None] - high).clamp(min=0)
    return away.masked_fill(classes == y[:, None], torch.inf).amin(1)
