"""ROC curves and score histograms, from rows with scores beside them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import kinds, parse
from medrobust.report.figure.core.scored import Scored, groups
from medrobust.report.figure.roc import Roc, roc
from medrobust.report.figure.scores import ScoreHistograms, spread
from medrobust.result.arrays import ArraysError
from medrobust.result.row import Row
from medrobust.result.scores import Scores

MakeRow = Callable[..., Row]


def drawn(shift: float = 1.0, n: int = 80, *, changed: bool = True, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    right = rng.random(n) < 0.9
    return Scores(
        clean=rng.normal(size=n),
        adversarial=rng.normal(size=n) + shift,
        right=right,
        fooled=right & (rng.random(n) < 0.7),
        threshold=1.3,
        changed=changed,
    )


def source(folder: Path, cells: list[tuple[Row, Scores | None]]) -> Source:
    pictures = {row.id: folder / f"{row.id}.png" for row, _ in cells}
    found = Source(tuple(row for row, _ in cells), pictures)
    for row, scores in cells:
        if scores is not None:
            scores.write(found.beside(row, "scores.npz"))
    return found


@pytest.fixture
def sweep(row: MakeRow, tmp_path: Path) -> Source:
    cells = [
        (row(0.5, attack=attack, defense=defense, threat=threat), drawn(shift, seed=seed))
        for seed, (attack, threat, shift) in enumerate(
            [("aegis/pgd", "oblivious", 2.0), ("aegis/wb", "adaptive", 0.2)]
        )
        for defense in ("kd", "shield", "maha", "lid")
    ]
    cells.append((row(0.9, attack="none", defense="kd"), drawn(changed=False)))  # type: ignore[arg-type]
    cells.append((row(0.9, attack="aegis/pgd"), None))  # type: ignore[arg-type]
    return source(tmp_path, cells)  # type: ignore[arg-type]


def test_scores_survive_the_disk(tmp_path: Path) -> None:
    path, scores = tmp_path / "a.scores.npz", drawn()
    assert Scores.read(path) is None
    scores.write(path)
    first = path.read_bytes()
    back = Scores.read(path)
    assert back is not None
    assert (back.threshold, back.changed) == (1.3, True)
    for name in ("clean", "adversarial", "right", "fooled"):
        assert np.array_equal(getattr(back, name), getattr(scores, name))
    scores.write(path)
    assert path.read_bytes() == first
    path.write_bytes(first[:40])
    with pytest.raises(ArraysError, match="damaged"):
        Scores.read(path)


@pytest.mark.parametrize("successful", [False, True])
@pytest.mark.parametrize("levels", [None, 3])
def test_a_curve_is_that_of_scikit_learn(
    successful: bool, levels: int | None, row: MakeRow
) -> None:
    scores = drawn()
    if levels:
        for name in ("clean", "adversarial"):
            getattr(scores, name)[:] = np.round(getattr(scores, name) * levels / 3)
    found = roc(Scored(row(0.5), scores), successful=successful)
    assert found is not None
    negative = scores.clean[scores.right] if successful else scores.clean
    positive = scores.adversarial[scores.fooled] if successful else scores.adversarial
    truth = np.r_[np.zeros(len(negative)), np.ones(len(positive))]
    false, true, area, dot = found
    assert area == pytest.approx(roc_auc_score(truth, np.r_[negative, positive]))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert dot == pytest.approx(((negative > 1.3).mean(), (positive > 1.3).mean()))


def test_a_drawing_has_a_panel_per_detector(sweep: Source) -> None:
    (made,) = Roc(name="roc").draw(sweep)
    axes = made.canvas.axes
    assert [a.get_title() for a in axes[:4]] == ["kernel density", "Shield", "Mahalanobis", "LID"]
    legend = axes[0].get_legend()
    assert legend is not None
    said = [text.get_text() for text in legend.get_texts()]
    assert [text.split(":")[0] for text in said] == ["aegis/pgd", "WB, adaptive"]
    (bars,) = ScoreHistograms(name="scores").draw(sweep)
    assert len(bars.canvas.axes) == 8
    for drawing in (made, bars):
        drawing.canvas.savefig("/dev/null", format="png")
    (part,) = Roc(name="roc", attack=("aegis/wb",), defense=("maha",)).draw(sweep)
    assert [a.get_title() for a in part.canvas.axes] == ["Mahalanobis"]


def test_victims_are_drawn_apart_and_phantoms_marked(row: MakeRow, tmp_path: Path) -> None:
    cells = [
        (row(0.5, attack="pgd", defense="kd", model=m, phantom=True), drawn())
        for m in ("resnet50", "vgg16")
    ]
    made = ScoreHistograms(name="scores").draw(source(tmp_path, cells))  # type: ignore[arg-type]
    assert [drawing.name for drawing in made] == ["scores_resnet50", "scores_vgg16"]
    assert "PHANTOM" in made[0].canvas.get_suptitle()


def test_degenerate_scores(row: MakeRow, tmp_path: Path) -> None:
    flat = np.zeros(5)
    nobody = np.zeros(5, bool)
    odd = Scores(flat, np.array([0, 0, 0, np.inf, -np.inf]), nobody, nobody, 0.0, changed=True)
    at = source(tmp_path, [(row(0.5, attack="pgd", defense="kd"), odd)])
    assert roc(Scored(at.rows[0], odd), successful=True) is None
    for figure in (Roc(name="r"), Roc(name="r", successful=True), ScoreHistograms(name="s")):
        (made,) = figure.draw(at)
        made.canvas.savefig("/dev/null", format="png")
    low, high = spread([flat])
    assert low < 0 < high


def test_nothing_to_draw_is_told(row: MakeRow, tmp_path: Path) -> None:
    at = source(tmp_path, [(row(0.5, attack="pgd"), None)])
    with pytest.raises(FigureError, match=r"set defense to a detector.*rerun=true"):
        groups(at, (), ())
    at.beside(at.rows[0], "scores.npz").write_bytes(b"no archive")
    with pytest.raises(FigureError, match="damaged"):
        groups(at, (), ())


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"kind": "roc", "successful": 3}, "successful is 3, expected bool"),
        ({"kind": "roc", "attack": [1]}, "attack is"),
        ({"kind": "scores", "bins": 0}, "bins=0"),
        ({"kind": "scores", "defense": [1]}, "defense is"),
    ],
)
def test_bad_nodes(node: dict[str, object], message: str) -> None:
    assert {"roc", "scores"} <= set(kinds())
    with pytest.raises(FigureError, match=message):
        parse(node)
