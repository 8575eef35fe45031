"""Attacks on a classifier and a detector at once: properties, a known optimum, a comparison."""

import copy
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.evading import Evading
from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.decayed_pgd import DecayedPGD
from medrobust.attack.joint_pgd import JointPGD
from medrobust.attack.loss.evade import EvasionError
from medrobust.attack.loss.joint import Joint
from medrobust.attack.loss.wb import WB
from medrobust.attack.orthogonal_pgd import OrthogonalPGD
from medrobust.attack.pgd import PGD
from medrobust.attack.selective_pgd import SelectivePGD
from medrobust.attack.target.next_class import NextClass
from medrobust.defense.core.detector import Detector, Observation
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.clinic import TAPS, clinic
from tests.support.guarded import Sum

EPS = 6 / 255
KINDS: dict[str, Callable[..., Evading]] = {
    "selective": SelectivePGD,
    "orthogonal": OrthogonalPGD,
    "joint": JointPGD,
}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
Rows = tuple[Surrogate, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def rows(row_surrogate: VictimSurrogate) -> Rows:
    """21 images before a classifier and a detector whose arithmetic no batch changes."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(21, 3, 6, 5, generator=generator)
    weight = torch.randn(3, 6, 5, generator=generator)
    y = row_surrogate.victim(x).argmax(1)
    middle = float((x * weight).flatten(1).sum(1).median())
    surrogate = Adaptive()(row_surrogate.victim, Sum(weight, middle).eval())
    return surrogate, x, y, sample_seeds(1, [str(i) for i in range(21)])


def won(surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
    with torch.no_grad():
        seen = surrogate(x, seeds)
    assert seen.score is not None
    assert seen.threshold is not None
    return (seen.label != y) & (seen.score <= seen.threshold)


@every
def test_in_the_ball_and_better_than_noise(kind: Callable[..., Evading], rows: Rows) -> None:
    surrogate, x, y, seeds = rows
    attack = kind(EPS, steps=20)
    found = attack(surrogate, x, y, seeds=seeds)
    assert distance(x, found, "linf").max() <= EPS
    noise = EPS * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).sign()
    before = won(surrogate, (x + noise).clamp(0, 1), y, seeds).sum()
    assert won(surrogate, found, y, seeds).sum() > before + 4
    large = kind(0.5, steps=40)(surrogate, x, y, seeds=seeds)
    assert won(surrogate, large, y, seeds).sum() >= len(x) - 2


@every
@pytest.mark.parametrize("early", [False, True])
def test_the_same_bits_in_any_batch_and_order(
    kind: Callable[..., Evading], early: bool, rows: Rows
) -> None:
    surrogate, x, y, seeds = rows
    attack = kind(EPS, steps=5, restarts=2, early_stop=early)
    whole = attack(surrogate, x, y, seeds=seeds)
    parts = [
        attack(surrogate, x[few], y[few], seeds=seeds[few])
        for few in torch.arange(len(x)).split([1, 1, 5, 14])
    ]
    assert torch.equal(whole, torch.cat(parts))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(6))
    assert torch.equal(whole[order], attack(surrogate, x[order], y[order], seeds=seeds[order]))
    with torch.inference_mode():
        assert torch.equal(whole, attack(surrogate, x, y, seeds=seeds))


@every
def test_more_steps_and_restarts_are_not_weaker(kind: Callable[..., Evading], rows: Rows) -> None:
    surrogate, x, y, seeds = rows
    fooled = [
        won(surrogate, kind(EPS, **how)(surrogate, x, y, seeds=seeds), y, seeds)
        for how in ({"steps": 1}, {"steps": 6}, {"steps": 30}, {"steps": 30, "restarts": 3})
    ]
    one, six, thirty, restarted = fooled
    assert one.sum() <= six.sum() + 1
    assert six.sum() <= thirty.sum() + 1
    assert not (thirty & ~restarted).any()  # the first of the restarts is the one of old


@every
def test_early_stop_waits_for_both_and_wins_the_same(
    kind: Callable[..., Evading], rows: Rows
) -> None:
    surrogate, x, y, seeds = rows
    whole = won(surrogate, kind(EPS, steps=20)(surrogate, x, y, seeds=seeds), y, seeds)
    early = kind(EPS, steps=20, early_stop=True)(surrogate, x, y, seeds=seeds)
    assert torch.equal(whole, won(surrogate, early, y, seeds))
    assert 0 < whole.sum() < len(x)
    with torch.no_grad():
        label = surrogate(early, seeds).label
    assert (label[whole] != y[whole]).all()


@every
def test_targets(kind: Callable[..., Evading], rows: Rows) -> None:
    surrogate, x, y, seeds = rows
    found = kind(0.5, steps=40, target=NextClass())(surrogate, x, y, seeds=seeds)
    with torch.no_grad():
        seen = surrogate(found, seeds)
        plain = surrogate(PGD(0.5, steps=40, target=NextClass())(*rows[:3], seeds=seeds), seeds)
    wanted = (y + 1) % 4
    assert (plain.label == wanted).float().mean() > 0.5  # not every class is in reach
    assert (seen.label == wanted).float().mean() > (plain.label == wanted).float().mean() - 0.1
    assert seen.score is not None
    assert seen.threshold is not None
    hidden = seen.score <= seen.threshold
    assert hidden[seen.label == wanted].float().mean() > 0.9


@every
def test_in_other_precisions_and_with_noise(
    kind: Callable[..., Evading], row_surrogate: VictimSurrogate, rows: Rows
) -> None:
    _, x, y, seeds = rows
    generator = torch.Generator().manual_seed(5)
    weight = torch.randn(3, 6, 5, generator=generator)
    middle = float((x * weight).flatten(1).sum(1).median())
    loud = Sum(weight, middle, noise=0.1).eval()
    surrogate = Adaptive(eot_samples=4)(row_surrogate.victim, loud)
    found = kind(0.2, steps=20)(surrogate, x, y, seeds=seeds)
    assert won(surrogate, found, y, seeds).float().mean() > 0.8
    parts = [
        kind(0.2, steps=20)(surrogate, x[i : i + 7], y[i : i + 7], seeds=seeds[i : i + 7])
        for i in (0, 7, 14)
    ]
    assert torch.equal(found, torch.cat(parts))
    for dtype in (torch.float64, torch.bfloat16):
        victim = copy.deepcopy(row_surrogate.victim).to(dtype)
        exact = Adaptive()(victim, Sum(weight.to(dtype), middle).eval())
        found = kind(0.2, steps=20)(exact, x.to(dtype), y, seeds=seeds)
        assert found.dtype == dtype
        assert won(exact, found, y, seeds).float().mean() > 0.8


@every
def test_refusals(kind: Callable[..., Evading], rows: Rows, row_surrogate: VictimSurrogate) -> None:
    surrogate, x, y, seeds = rows
    with pytest.raises(EvasionError, match=r"VictimSurrogate shows no detector's score.*adaptive"):
        kind(EPS, steps=2)(row_surrogate, x, y, seeds=seeds)
    defense = surrogate.defense
    assert isinstance(defense, Sum)
    with pytest.raises(AttackError, match="needs gradients"):
        kind(EPS, steps=2)(BlackBox()(row_surrogate.victim, defense), x, y, seeds=seeds)
    with pytest.raises(AttackError, match="one label per image"):
        kind(EPS, steps=2)(surrogate, x, torch.zeros(21, 6, 5, dtype=torch.int64), seeds=seeds)
    with pytest.raises(ValueError, match=r"attack\.steps="):
        kind(EPS, steps=0)
    with pytest.raises(ValueError, match=r"attack\.eps="):
        kind(0, steps=2)


@pytest.mark.parametrize("horizon", [0, 1.5, "far"])
def test_bad_horizon(horizon: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.horizon="):
        JointPGD(EPS, steps=2, horizon=horizon)


@every
def test_a_flat_detector_does_no_damage(
    kind: Callable[..., Evading], rows: Rows, row_surrogate: VictimSurrogate
) -> None:
    _, x, y, seeds = rows
    surrogate = Adaptive()(row_surrogate.victim, Sum(torch.zeros(3, 6, 5), 0.0).eval())
    found = kind(EPS, steps=10)(surrogate, x, y, seeds=seeds)
    plain = PGD(EPS, steps=10)(row_surrogate, x, y, seeds=seeds)
    fooled = row_surrogate.victim(plain).argmax(1) != y
    assert int(won(surrogate, found, y, seeds).sum()) >= int(fooled.sum()) - 2


class Linear(nn.Module):
    """Two classes by a plane."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        lead = (x.flatten(1) * self.weight).sum(1)
        return torch.stack([-lead, lead], 1) / 2


def optimum(u: Tensor, v: Tensor, x: Tensor, room: float, eps: float) -> float:
    """Largest min(u.z, room - v.z) over the ball around x and [0, 1]: a linear program."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    rows = torch.stack([torch.cat([-u, u.new_ones(1)]), torch.cat([v, v.new_ones(1)])])
    bounds = [*zip(low.tolist(), high.tolist(), strict=True), (None, None)]
    cost = [0.0] * len(x) + [-1.0]
    solved = linprog(cost, A_ub=rows.numpy(), b_ub=[0.0, room], bounds=bounds)
    return -float(solved.fun)


@pytest.mark.parametrize(("horizon", "share"), [(1.0, 0.99), (0.5, 0.97)])
def test_joint_finds_the_optimum_of_a_linear_pair(horizon: float, share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    size, eps = (1, 6, 6), 0.05
    u, v = torch.randn(2, 36, generator=generator, dtype=torch.float64)
    v = v + 0.8 * u  # what fools raises the score
    u, v = u / u.abs().sum(), v / v.abs().sum()  # so that the margins are in pixel units already
    x = torch.rand(12, *size, generator=generator, dtype=torch.float64)
    x = x - ((x.flatten(1) @ u + 0.01) / (u @ u)).view(-1, 1, 1, 1) * u.view(1, *size)
    x = x.clamp(0, 1)
    threshold = float((x.flatten(1) @ v).median())
    victim = Victim(Linear(u), mean=[0.0], std=[1.0], architecture={}).double().freeze()
    surrogate = Adaptive()(victim, Sum(v.view(size), threshold).eval())
    y, seeds = torch.zeros(12, dtype=torch.int64), torch.arange(12)
    best = torch.tensor([optimum(u, v, image, threshold, eps) for image in x.flatten(1)])
    start = torch.minimum(x.flatten(1) @ u, threshold - x.flatten(1) @ v)
    gained = {}
    for name, attack in {
        "joint": JointPGD(eps, steps=100, horizon=horizon),
        "selective": SelectivePGD(eps, steps=100),
        "wb": PGD(eps, steps=100, loss=WB(kappa=0)),
    }.items():
        z = attack(surrogate, x, y, seeds=seeds).flatten(1)
        margin = torch.minimum(z @ u, threshold - z @ v)
        assert (margin <= best + 1e-6).all()
        gained[name] = (margin - start) / (best - start)
    assert gained["joint"].quantile(0.1) > share
    assert gained["joint"].mean() >= gained["selective"].mean()
    assert gained["joint"].mean() > gained["wb"].mean() + 0.05


class Trained(Detector):
    """Logistic regression on pooled features, clean against PGD: what a simple detector is."""

    def learn(self, victim: Victim, datamodule: object) -> None:
        train = clinic().data.dataset("train")
        x, y, seeds = train.images, train.labels, torch.arange(len(train))
        made = [PGD(e / 255, steps=8)(VictimSurrogate(victim), x, y, seeds=seeds) for e in (8, 16)]
        one, other = (self.pooled(victim.features(z, self.taps)[1]) for z in (x, torch.cat(made)))
        centre, scale = one.mean(0), one.std(0) + 1e-3
        data = (torch.cat([one, other]) - centre) / scale
        truth = torch.cat([torch.zeros(len(one)), torch.ones(len(other))])
        weight = torch.zeros(data.shape[1] + 1, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.05)
        with torch.enable_grad():
            for _ in range(150):
                optimizer.zero_grad()
                said = data @ weight[1:] + weight[0]
                nn.functional.binary_cross_entropy_with_logits(said, truth).backward()
                optimizer.step()
        names = ("centre", "scale", "weight")
        for name, value in zip(names, (centre, scale, weight.detach()), strict=True):
            self.statistics[name] = value

    @staticmethod
    def pooled(features: dict[str, Tensor]) -> Tensor:
        maps = [torch.cat([found, found.square()], 1) for found in features.values()]
        return torch.cat([nn.functional.adaptive_avg_pool2d(m, 2).flatten(1) for m in maps], 1)

    def anomaly(self, seen: Observation) -> Tensor:
        centre, scale, weight = (self.statistics[n] for n in ("centre", "scale", "weight"))
        return ((self.pooled(dict(seen.features)) - centre) / scale) @ weight[1:] + weight[0]


def test_joint_beats_wb_and_wb_beats_an_oblivious_attack() -> None:
    victim, data, x, y, attacked, seeds = clinic()
    detector = Trained(TAPS)
    detector.fit(victim, data)
    detector.eval()
    with torch.no_grad():
        assert detector(attacked, victim, seeds=seeds).abstain.float().mean() > 0.9  # type: ignore[union-attr]
    adaptive, bare, eps, steps = Adaptive()(victim, detector), VictimSurrogate(victim), 16 / 255, 25

    scores = []

    def undetected(surrogate: Surrogate, attack: PGD) -> float:
        found = attack(surrogate, x, y, seeds=seeds)
        with torch.no_grad():
            seen: Prediction = detector(found, victim, seeds=seeds)
        assert seen.abstain is not None
        assert seen.score is not None
        scores.append(float(seen.score.mean()))
        return float(((seen.label != y) & ~seen.abstain).float().mean())

    oblivious = undetected(bare, PGD(eps, steps=steps))
    wb = undetected(adaptive, PGD(eps, steps=steps, loss=WB()))
    wb_d = undetected(adaptive, DecayedPGD(eps, steps=steps, after=[12], loss=WB()))
    rates = {name: undetected(adaptive, kind(eps, steps=steps)) for name, kind in KINDS.items()}
    assert rates["joint"] >= max(wb, wb_d) + 0.3  # the weight of WB is that of its score's units
    assert rates["joint"] >= max(rates.values()) - 0.02
    assert wb > oblivious
    assert scores[1] < 0 < scores[0]  # the logit of an attack: surely one, surely none


def test_oblivious_attacks_stop_early_when_they_fool_alone(rows: Rows) -> None:
    surrogate, x, y, seeds = rows
    plain = PGD(8 * EPS, steps=20, early_stop=True)
    found = plain(surrogate, x, y, seeds=seeds)
    with torch.no_grad():
        assert (surrogate(found, seeds).label != y).sum() >= len(x) - 2
    both = PGD(8 * EPS, steps=20, early_stop=True, loss=Joint())
    assert won(surrogate, both(surrogate, x, y, seeds=seeds), y, seeds).sum() >= len(x) - 2
    alone = PGD(8 * EPS, steps=20, early_stop=True, loss=WB(), criterion=Misclassified())
    assert alone.criterion is not None  # a success of one's own is kept
    assert won(surrogate, alone(surrogate, x, y, seeds=seeds), y, seeds).sum() < len(x) - 4
