"""ROC curves and confusion matrices over seeds, and their layout."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from medrobust.report.figure.confusion import Confusion
from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.style import COLUMN, PAGE, paper_style
from medrobust.report.figure.roc import Roc
from medrobust.report.figure.scores import ScoreHistograms
from medrobust.result.row import Row
from medrobust.result.scores import Scores

MakeRow = Callable[..., Row]


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with paper_style():
        yield


def scores(seed: int, n: int = 60) -> Scores:
    rng = np.random.default_rng(seed)
    every = np.ones(n, bool)
    return Scores(
        clean=rng.normal(size=n),
        adversarial=rng.normal(size=n) + 1,
        right=every,
        fooled=every,
        threshold=1.3,
        changed=True,
    )


def source(folder: Path, rows: Sequence[Row], over: tuple[str, ...] = ()) -> Source:
    made = Source(tuple(rows), {row.id: folder / f"{row.id}.png" for row in rows}, over)
    for seed, row in enumerate(rows):
        scores(seed).write(made.beside(row, "scores.npz"))
    return made


def test_roc_over_seeds_is_the_mean_at_equal_false_positive_rates(
    row: MakeRow, tmp_path: Path
) -> None:
    rows = [row(0.5, defense="kd", config={"victim_seed": seed}) for seed in range(3)]
    (drawing,) = Roc(name="roc").draw(source(tmp_path, rows, ("victim_seed",)))
    (axes,) = drawing.canvas.axes
    grid = np.linspace(0, 1, 101)
    every, areas = [], []
    for seed in range(3):
        truth, found = np.repeat([0, 1], 60), scores(seed)
        value = np.r_[found.clean, found.adversarial]
        false, true, _ = roc_curve(truth, value, drop_intermediate=False)
        every.append(np.interp(grid, false, true))
        areas.append(100 * roc_auc_score(truth, value))
    line = next(line for line in axes.get_lines() if str(line.get_label()).startswith("PGD"))
    at = np.asarray(line.get_xdata(), float) / 100
    seen = np.interp(grid, at, np.asarray(line.get_ydata(), float) / 100)
    np.testing.assert_allclose(seen, np.mean(every, 0), atol=1e-9)
    corners = axes.collections[0].get_paths()[0].vertices
    half = corners[corners[:, 0] == 50, 1]
    middle = np.array(every)[:, 50]
    assert np.ptp(half) == pytest.approx(200 * middle.std(ddof=1))
    assert line.get_label() == f"PGD: {np.mean(areas):.1f} ± {np.std(areas, ddof=1):.1f}"
    dots = [one for one in axes.get_lines() if one.get_marker() == "o"]
    assert len(dots) == 3
    assert "mean ± standard deviation over 3 seeds (victim seed)" in drawing.caption


def test_seeds_that_are_not_averaged_are_never_one_drawing(row: MakeRow, tmp_path: Path) -> None:
    rows = [row(0.5, defense="kd", config={"victim_seed": seed}) for seed in range(2)]
    for figure in (Roc(name="r"), ScoreHistograms(name="r")):
        made = figure.draw(source(tmp_path, rows))
        assert [one.name for one in made] == ["r_victim_seed_0", "r_victim_seed_1"]
    (pooled, other) = ScoreHistograms(name="s").draw(source(tmp_path, rows, ("victim_seed",)))
    assert {pooled.name, other.name} == {"s_victim_seed_0", "s_victim_seed_1"}
    alike = [row(0.5, defense="kd", config={"split": split}) for split in ("test", "val")]
    with pytest.raises(
        FigureError, match="two rows of PGD stand at kernel density: they differ in split"
    ):
        Roc(name="r").draw(source(tmp_path, alike))
    budgets = [row(0.5, defense="kd", settings={"eps": f"{eps}/255"}) for eps in (1, 2)]
    (one,) = Roc(name="r").draw(source(tmp_path, budgets))
    said = [str(line.get_label()) for line in one.canvas.axes[0].get_lines()]
    assert [text.split(":")[0] for text in said if ":" in text] == [
        "PGD eps=1/255",
        "PGD eps=2/255",
    ]


def test_no_figure_passes_over_a_failed_seed(row: MakeRow, tmp_path: Path) -> None:
    rows = [confused(row, 6, seed, defense) for seed in range(2) for defense in ("kd", "lid")]
    failed = replace(rows[0], id="f", status="failed", config=rows[0].config | {"victim_seed": 2})
    whole = source(tmp_path, rows, ("victim_seed",))
    lacking = replace(whole, failed=(failed,))
    (drawing,) = Roc(name="r").draw(lacking)
    kd, lid = drawing.canvas.axes
    assert (kd.get_legend(), lid.get_legend() is None) == (None, False)
    assert "lacks scores of such images: kernel density against PGD" in drawing.caption
    (drawing,) = Confusion(name="c").draw(lacking)
    assert [axes.get_title()[:3] for axes in drawing.canvas.axes] == ["LID"]
    assert "not finished: kernel density." in drawing.caption
    whole.beside(rows[1], "scores.npz").unlink()
    (drawing,) = Roc(name="r").draw(whole)
    assert "lacks scores of such images: LID against PGD" in drawing.caption


@pytest.mark.parametrize("phantom", [False, True])
@pytest.mark.parametrize("count", [1, 5])
def test_a_legend_of_roc_curves_hides_no_curve(
    row: MakeRow, tmp_path: Path, count: int, phantom: bool
) -> None:
    rows = [
        row(0.5, attack=attack, defense=defense, phantom=phantom)
        for attack in ("pgd", "an/attack_with_a_long_name", "bim")
        for defense in ("kd", "maha", "lid", "shield", "magnet")[:count]
    ]
    (drawing,) = Roc(name="r").draw(source(tmp_path, rows))
    made = drawing.canvas
    made.canvas.draw()
    assert made.get_figwidth() == (COLUMN if count == 1 else PAGE)
    boxes = []
    for axes in made.axes[:count]:
        legend = axes.get_legend()
        assert legend is not None
        boxes += [
            axes.get_window_extent(),
            legend.get_window_extent(),
            axes.xaxis.label.get_window_extent(),
        ]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other)
    assert all(0 <= box.x0 < box.x1 <= made.bbox.x1 for box in boxes)
    assert all(0 <= box.y0 < box.y1 <= made.bbox.y1 for box in boxes)


NAMES = ["actinic keratoses and intraepithelial carcinoma", "melanocytic nevi", *"abcde"]


def confused(row: MakeRow, right: int, seed: int = 0, defense: str = "none") -> Row:
    counts = (
        np.eye(7, dtype=int) * right + np.roll(np.eye(7, dtype=int), 1, 1) * (10 - right)
    ).tolist()
    return row(
        right / 10, confusion=counts, classes=NAMES, config={"victim_seed": seed}, defense=defense
    )


def test_confusion_over_seeds_adds_counts_up(row: MakeRow) -> None:
    rows = [confused(row, right, seed) for seed, right in enumerate((4, 6, 8))]
    (drawing,) = Confusion(name="c").draw(Source(tuple(rows), {}, ("victim_seed",)))
    (axes,) = drawing.canvas.axes
    assert axes.get_title() == "undefended\naccuracy 60.0 ± 20.0 %"
    assert [text.get_text() for text in axes.texts[:3]] == ["60", "40", "0"]
    assert "counts of 3 seeds added up" in drawing.caption
    apart = Confusion(name="c").draw(Source(tuple(rows), {}))
    assert [one.name for one in apart] == [f"c_pgd_victim_seed_{seed}" for seed in range(3)]


def test_class_names_and_numbers_of_a_confusion_matrix_stay_apart(row: MakeRow) -> None:
    rows = [confused(row, 10, defense=name) for name in ("none", "jpeg", "median")]
    (drawing,) = Confusion(name="c").draw(Source(tuple(rows), {}))
    made = drawing.canvas
    made.canvas.draw()
    assert made.get_figwidth() == PAGE
    first = made.axes[0]
    for texts in (first.texts[:7], first.get_xticklabels(), first.get_yticklabels()):
        for one, other in itertools.pairwise(texts):
            assert not one.get_window_extent().overlaps(other.get_window_extent())
    for axes in made.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert 0 <= box.x0 < box.x1 <= made.bbox.x1
    (alone,) = Confusion(name="c", defense=("jpeg",)).draw(Source(tuple(rows), {}))
    assert alone.canvas.get_figwidth() == COLUMN
