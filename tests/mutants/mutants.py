"""The mistakes: a sign, a clamp, a step, a seed, an off-by-one, one per line of code."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """One changed place of the package, and the tests that are to find it.

    Attributes:
        file: below `src/medrobust`.
        old: text that occurs once.
        new: its replacement.
        tests: paths below `tests`.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_CORE = ("attack/core", "attack/test_pgd.py", "attack/test_suite.py")

MUTANTS = (
    # attacks
    Mutant("attack/core/ball.py", "(exact - eps).clamp_(min=0)", "(exact - eps)", _CORE),
    Mutant("attack/core/ball.py", "self.eps * (2 * noise - 1)", "self.eps * noise", _CORE),
    Mutant("attack/core/ball.py", "1 / shape.numel()", "2 / shape.numel()", _CORE),
    Mutant("attack/core/ball.py", ".clamp(min=self.eps)", ".clamp(min=0.5 * self.eps)", _CORE),
    Mutant("attack/core/best.py", "(loss >= old_loss)", "(loss > old_loss)", _CORE),
    Mutant("attack/core/best.py", "reached & ~old_reached", "~reached & old_reached", _CORE),
    Mutant("attack/core/iterated.py", "fold_in(seeds, restart)", "seeds", _CORE),
    Mutant(
        "attack/core/iterated.py",
        "now.point + self.size_at(step) * direction",
        "now.point - self.size_at(step) * direction",
        _CORE,
    ),
    Mutant("attack/core/iterated.py", "fold_in(now.seeds, step)", "now.seeds", _CORE),
    Mutant("attack/core/step.py", "self.decay * memory + fresh", "memory + fresh", _CORE),
    Mutant("attack/pgd.py", "2.5 * self.eps / self.steps", "0.5 * self.eps / self.steps", _CORE),
    Mutant("attack/apgd.py", "return 2 * self.eps", "return self.eps", ("attack/test_apgd.py",)),
    Mutant(
        "attack/apgd.py",
        "self.rises <= rho * window",
        "self.rises < rho * window - 1",
        ("attack/test_apgd.py", "attack/test_apgd_ce.py"),
    ),
    Mutant(
        "attack/apgd.py", "loss > self.peak_loss", "loss < self.peak_loss", ("attack/test_apgd.py",)
    ),
    Mutant("attack/mim.py", "self.eps / self.steps", "self.eps", ("attack/test_mim.py",)),
    Mutant(
        "attack/ddn.py",
        "1 - self.gamma, 1 + self.gamma",
        "1 + self.gamma, 1 - self.gamma",
        ("attack/test_ddn.py",),
    ),
    Mutant(
        "attack/square.py",
        "range(1, self.queries)",
        "range(1, self.queries + 1)",
        ("attack/test_square.py", "attack/core/test_query.py"),
    ),
    Mutant("attack/square.py", "done > step", "done >= step", ("attack/test_square.py",)),
    Mutant(
        "attack/loss/margin.py",
        "lead(prediction.logits, y).neg()",
        "lead(prediction.logits, y)",
        ("attack/loss",),
    ),
    Mutant(
        "attack/loss/dlr.py",
        "top[:, 0] - top[:, 2] + TINY",
        "top[:, 0] - top[:, 1] + TINY",
        ("attack/loss",),
    ),
    # threats
    Mutant(
        "threat/mean_loss.py",
        "grad += change / self.eot_samples",
        "grad += change",
        ("threat", "attack/test_smia.py"),
    ),
    Mutant(
        "threat/mean_loss.py",
        "fold_in(seeds.repeat(draws), draw)",
        "seeds.repeat(draws)",
        ("threat", "attack/core"),
    ),
    Mutant(
        "threat/defended.py",
        "noise = fold_in(seeds, 0)",
        "noise = seeds",
        ("threat", "attack/core", "evaluation/test_flow.py"),
    ),
    Mutant(
        "threat/surrogate.py",
        "(grad,) = torch.autograd.grad(loss.sum(), x)\n        return G",
        "(grad,) = torch.autograd.grad(-loss.sum(), x)\n        return G",
        ("attack/core",),
    ),
    Mutant(
        "threat/blackbox.py",
        'answer == "scores", defense.random',
        'answer == "scores", False',
        ("threat",),
    ),
    Mutant(
        "evaluation/stream.py",
        "else fold_in(own, 2)",
        "else fold_in(own, 1)",
        ("evaluation/test_flow.py",),
    ),
    Mutant(
        "attack/core/board.py",
        "(share > old_share)",
        "(share < old_share)",
        ("attack/test_strongest.py",),
    ),
    Mutant(
        "attack/core/board.py",
        "while asked < self.certain",
        "while asked < 1",
        ("attack/test_strongest.py",),
    ),
    Mutant(
        "attack/core/board.py",
        "(share == old_share) & (loss > old_loss)",
        "(share == old_share) & (loss < old_loss)",
        ("attack/test_strongest.py", "attack/test_strongest_traps.py"),
    ),
    Mutant(
        "attack/strongest.py",
        "board.offer(rows, made.images, 1)",
        "board.offer(rows, x[rows], 1)",
        ("attack/test_strongest.py",),
    ),
    # defenses
    Mutant(
        "defense/bit_depth.py",
        "high=8) - 1",
        "high=8)",
        ("defense/test_bit_depth.py", "defense/test_suite.py"),
    ),
    Mutant(
        "defense/median.py",
        "torch.maximum(low[:-2], low[1:-1]), low[2:]",
        "torch.maximum(low[:-2], low[1:-1]), low[1:-1]",
        ("defense/test_median.py",),
    ),
    Mutant(
        "defense/jpeg.py",
        "(x.detach() * 255).round()",
        "(x.detach() * 255)",
        ("defense/test_jpeg.py",),
    ),
    Mutant(
        "defense/jpeg.py",
        '"4:2:2": 1, "4:2:0": 2',
        '"4:2:2": 2, "4:2:0": 1',
        ("defense/test_jpeg.py",),
    ),
    Mutant("defense/noise/additive.py", "draw < self.sigma / 2", "draw < self.sigma", ("defense",)),
    Mutant(
        "defense/noise/additive.py", "self.sigma * normal", "self.sigma**2 * normal", ("defense",)
    ),
    Mutant("defense/medrdf.py", "2 * tail", "tail", ("defense/test_medrdf.py",)),
    Mutant(
        "defense/medrdf.py",
        "classes * (first - second) / drawn",
        "(first - second) / drawn",
        ("defense/test_medrdf.py",),
    ),
    Mutant(
        "defense/medrdf.py",
        "self.alpha / (2 * classes)",
        "self.alpha",
        ("defense/test_medrdf.py", "defense/core"),
    ),
    Mutant("defense/core/fitting.py", "max(place, 1) - 1", "max(place, 1) - 2", ("defense/core",)),
    Mutant(
        "defense/core/detector.py",
        "score > self.threshold",
        "score < self.threshold",
        ("defense/core",),
    ),
    # metrics
    Mutant(
        "metric/classification.py",
        "right, right_before = vote & ~silent",
        "right, right_before = vote | silent",
        ("metric",),
    ),
    Mutant(
        "metric/classification.py",
        "= ~vote & ~silent",
        "= ~vote",
        ("metric",),
    ),
    Mutant(
        "metric/one_vs_rest.py",
        "ties = (below[:, self._lower] + below[:, self._upper]) / 2",
        "ties = below[:, self._upper]",
        ("metric",),
    ),
    Mutant(
        "metric/detector.py", "TNR * kept[:, -1:] - 1e-9", "TNR * kept[:, -1:] + 1", ("metric",)
    ),
    Mutant("metric/detector.py", ": fooled & passes}", ": fooled}", ("metric",)),
    Mutant(
        "metric/interval.py",
        "int(hits.sum()), len(hits)",
        "int(hits.sum()), 2 * len(hits)",
        ("metric",),
    ),
)
