"""Curves against ε: the clean point, bands, seeds, looks and layout."""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from medrobust.report.figure.core.base import Drawing, FigureError, Source, canvas, heading
from medrobust.report.figure.core.lines import draw_lines, thinned
from medrobust.report.figure.core.save import PICTURES, saved
from medrobust.report.figure.core.series import Point
from medrobust.report.figure.core.style import COLUMN, PAGE, look, paper_style
from medrobust.report.figure.curve import Curve
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
BUDGETS = (0.75, 2, 8)


@pytest.fixture(autouse=True)
def style() -> Iterator[None]:
    with paper_style():
        yield


def attacked(
    row: MakeRow, value: float, eps: float, *, clean: float | None = 0.8, **more: Any
) -> Row:
    settings = {"eps": f"{eps}/255", "norm": "linf"} | more.pop("settings", {})
    metrics = {"accuracy": value, "attack_success_rate": 1 - value}
    intervals = {"accuracy": [value - 0.05, value + 0.04]}
    if clean is not None:
        metrics["clean_accuracy"] = clean
        intervals["clean_accuracy"] = [clean - 0.03, clean + 0.02]
    return row(value, settings=settings, metrics=metrics, intervals=intervals, **more)


def falling(row: MakeRow, start: float = 0.6, **more: Any) -> list[Row]:
    return [attacked(row, start - 0.2 * k, eps, **more) for k, eps in enumerate(BUDGETS)]


def drawn(rows: Sequence[Row], seeds: tuple[str, ...] = (), **keys: Any) -> Drawing:
    curve = Curve(**{"name": "c", "x": "attack.eps"} | keys)
    (drawing,) = curve.draw(Source(tuple(rows), {}, seeds))
    return drawing


def axes_of(drawing: Drawing) -> Axes:
    (axes,) = drawing.canvas.axes
    return axes


def band(axes: Axes, number: int = 0) -> dict[float, tuple[float, float]]:
    """Return x -> lower and upper edge of a band."""
    corners = axes.collections[number].get_paths()[0].vertices
    return {
        round(float(x), 9): (
            corners[corners[:, 0] == x, 1].min(),
            corners[corners[:, 0] == x, 1].max(),
        )
        for x in np.unique(corners[:, 0])
    }


def test_budgets_are_in_grey_levels_and_begin_with_the_clean_value(row: MakeRow) -> None:
    drawing = drawn(falling(row))
    axes = axes_of(drawing)
    (line,) = axes.get_lines()
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [0, *BUDGETS])
    np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [80, 60, 40, 20])
    assert axes.get_xlabel() == "perturbation budget ε (× 1/255)"
    assert axes.get_ylabel() == "accuracy (%)"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "0.75", "2", "8"]
    edges = band(axes)
    assert edges[0.0] == pytest.approx((77, 82))
    assert edges[2.0] == pytest.approx((35, 44))
    assert "ε = 0: clean accuracy" in drawing.caption
    assert "95 % intervals" in drawing.caption


def test_without_a_clean_counterpart_there_is_no_clean_point(row: MakeRow) -> None:
    trained = [attacked(row, 0.5, eps, clean=0.9 - eps / 100) for eps in BUDGETS]
    for drawing in (
        drawn(falling(row), metric="attack_success_rate"),
        drawn(falling(row, clean=None)),
        drawn(trained),  # each budget has a victim of its own
    ):
        (line,) = axes_of(drawing).get_lines()
        np.testing.assert_allclose(np.asarray(line.get_xdata(), float), BUDGETS)
        assert "ε = 0" not in drawing.caption


def test_other_norms_are_shown_as_they_are_and_never_mixed(row: MakeRow) -> None:
    far = [attacked(row, 0.4, 1, settings={"eps": e, "norm": "l2"}) for e in (0.25, 0.5)]
    axes = axes_of(drawn(far))
    assert axes.get_xlabel() == "perturbation budget ε (L2 norm)"
    assert list(axes.get_lines()[0].get_xdata()) == [0, 0.25, 0.5]
    with pytest.raises(FigureError, match=r"several norms \['linf', 'l2'\]"):
        drawn([*falling(row), *far])


def seeded(row: MakeRow, key: str = "victim_seed", count: int = 3) -> list[Row]:
    return [
        one
        for seed in range(count)
        for one in falling(
            row, 0.6 + 0.03 * seed**2, clean=0.8 + 0.01 * seed, config={key: seed}, defense="jpeg"
        )
    ]


def test_seeds_are_one_line_of_means_with_a_band_of_one_standard_deviation(row: MakeRow) -> None:
    drawing = drawn([*seeded(row), *falling(row, config={"victim_seed": 0})], ("victim_seed",))
    axes = axes_of(drawing)
    jpeg, none = axes.get_lines()
    starts = 100 * np.array([0.6, 0.63, 0.72])
    np.testing.assert_allclose(
        np.asarray(jpeg.get_ydata(), float), [81, *(starts.mean() - [0, 20, 40])]
    )
    edges = band(axes)
    spread = starts.std(ddof=1)
    assert edges[0.75] == pytest.approx((starts.mean() - spread, starts.mean() + spread))
    assert edges[0.0] == pytest.approx((80, 82))
    assert len(axes.collections) == 1  # a single seed has no standard deviation
    assert [jpeg.get_label(), none.get_label()] == ["jpeg (3 seeds)", "none (1 seed)"]
    assert axes.get_ylabel() == "accuracy (%)\nmean ± SD of seeds"
    assert "mean ± standard deviation over 1 to 3 seeds (victim seed)" in drawing.caption
    alone = drawn(seeded(row), ("victim_seed",))
    assert axes_of(alone).get_ylabel() == "accuracy (%)\nmean ± SD of 3 seeds"


def test_a_point_needs_every_seed_of_its_line(row: MakeRow) -> None:
    rows = [one for one in seeded(row) if one.config != seeded(row)[-1].config]
    (line,) = axes_of(drawn(rows, ("victim_seed",))).get_lines()
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [0, *BUDGETS[:2]])


def test_a_mean_does_not_pass_over_a_failed_seed(row: MakeRow) -> None:
    rows = seeded(row, count=2)
    failed = row(
        None,
        defense="jpeg",
        settings={"eps": "2/255", "norm": "linf"},
        config={"victim_seed": 2, "victim.seed": 2},
    )
    curve = Curve(name="c", x="attack.eps")
    (drawing,) = curve.draw(Source(tuple(rows), {}, ("victim_seed",), (failed,)))
    (line,) = axes_of(drawing).get_lines()
    np.testing.assert_allclose(np.asarray(line.get_xdata(), float), [0, 0.75, 8])
    other = falling(row, 0.5, defense="median", config={"victim_seed": 0})
    all_failed = tuple(
        replace(one, status="failed", metrics={}, config=one.config | {"victim_seed": 1})
        for one in other
    )
    (drawing,) = curve.draw(Source((*rows, *other), {}, ("victim_seed",), all_failed))
    assert [one.get_label() for one in axes_of(drawing).get_lines()] == ["jpeg"]
    assert "Not drawn, as no point is finished: median." in drawing.caption


def test_seeds_that_are_not_averaged_are_apart(row: MakeRow) -> None:
    made = Curve(name="c", x="attack.eps").draw(Source(tuple(seeded(row)), {}))
    assert [one.name for one in made] == [f"c_victim_seed_{seed}" for seed in range(3)]
    with pytest.raises(FigureError, match=r"two rows of pgd .* table\.over=\[defense_seed\]"):
        drawn(seeded(row, "defense.seed"))
    averaged = drawn(seeded(row, "defense.seed"), ("defense_seed",))
    assert "3 seeds (defense seed)" in averaged.caption


def test_lines_of_attacks_and_threats(row: MakeRow) -> None:
    rows = [
        one
        for attack, threat, defense in itertools.product(
            ("pgd", "fgsm"), ("oblivious", "adaptive"), ("none", "jpeg")
        )
        for one in falling(row, attack=attack, threat=threat, defense=defense)
    ]
    one = drawn(rows, line="threat", over=("pgd",))
    said = [line.get_label() for line in axes_of(one).get_lines()]
    assert said == [f"{d} · {t}" for t in ("oblivious", "adaptive") for d in ("none", "jpeg")]
    made = Curve(name="c", x="attack.eps", line="attack", defense=("jpeg",)).draw(
        Source(tuple(rows), {})
    )
    assert [one.name for one in made] == ["c_oblivious", "c_adaptive"]
    assert [line.get_label() for line in axes_of(made[0]).get_lines()] == ["pgd", "fgsm"]
    assert axes_of(made[0]).get_ylabel() == "accuracy (%)"
    assert axes_of(drawn(rows, threat=("adaptive",))).get_ylabel() == "mean accuracy (%)"


def test_a_line_of_unlike_rows_is_refused_or_said(row: MakeRow) -> None:
    first, *others = falling(row)
    with pytest.raises(FigureError, match=r"different images \(n = 2005, 60\)"):
        drawn([first, attacked(row, 0.4, 2, n=60)])
    longer = attacked(row, 0.4, 2, settings={"steps": 40, "step_size": "1/255"})
    assert "Along a line, attack.steps differs as well." in drawn([first, longer]).caption
    assert "differs" not in drawn([first, *others]).caption


def test_no_two_lines_look_the_same() -> None:
    looks = [look(number, 42) for number in range(42)]
    assert len({(one.colour, one.dashes) for one in looks}) == 42
    assert len({(one.dashes, one.marker) for one in looks}) == 42  # in print without colours


@pytest.mark.parametrize("names", ["ab", "abcdefg"])
def test_lines_of_equal_values_remain_visible(names: str) -> None:
    points = [Point(x, 0.5 - x / 4, None, None) for x in (0, 1)]
    made = canvas(COLUMN, 2)
    axes = made.subplots()
    draw_lines(axes, dict.fromkeys(names, points))
    axes.set_axis_off()
    made.canvas.draw()
    pixels = np.asarray(made.canvas.buffer_rgba())[..., :3].reshape(-1, 3) / 255  # type: ignore[attr-defined]
    for number in range(len(names)):
        near = np.abs(pixels - to_rgb(look(number, len(names)).colour)).max(1) < 0.02
        assert near.sum() > 100, number


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("phantom", [False, True])
def test_no_text_hides_anything(row: MakeRow, width: str, phantom: bool) -> None:
    defenses = ["none", "jpeg", "a_defense_with_a_rather_long_name", *"abcde"]
    rows = [
        attacked(row, 0.5 / eps, eps, defense=name, phantom=phantom)
        for name in defenses
        for eps in (0.25, 0.5, 0.75, 1, 2, 4, 8, 16)
        if eps >= 1 or name == "jpeg"
    ]
    title = "A heading that is longer than a column of the paper that it goes into"
    made = drawn(rows, width=width, title=title).canvas
    made.canvas.draw()
    renderer = made.canvas.get_renderer()  # type: ignore[attr-defined]
    (axes,) = made.axes
    (legend,) = made.legends
    boxes = {
        "axes": axes.get_window_extent(renderer),
        "legend": legend.get_window_extent(renderer),
        "heading": made._suptitle.get_window_extent(renderer),  # type: ignore[attr-defined]
        "x": axes.xaxis.label.get_window_extent(renderer),
        "y": axes.yaxis.label.get_window_extent(renderer),
    }
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    boxes |= {f"tick {at}": tick.get_window_extent(renderer) for at, tick in enumerate(ticks)}
    for (one, box), (other, second) in itertools.combinations(boxes.items(), 2):
        assert not box.overlaps(second), (one, other)
    edge = made.bbox
    for name, box in boxes.items():
        assert edge.x0 <= box.x0 < box.x1 <= edge.x1, name
        assert edge.y0 <= box.y0 < box.y1 <= edge.y1, name
    assert made.get_figwidth() == {"column": COLUMN, "page": PAGE}[width]
    assert boxes["axes"].height / made.dpi > 1.4
    smallest = min(tick.get_fontsize() for tick in ticks)
    assert smallest >= 7


def test_tick_labels_are_thinned_between_the_outer_ones() -> None:
    assert thinned([0, 0.1, 5, 9.9, 10], ["0", "0.1", "5", "9.9", "10"], 2.0) == [0, 2, 4]
    assert thinned([3], ["3"], 2.0) == [0]


def test_the_same_figure_has_the_same_bytes_without_a_date(
    row: MakeRow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rows = falling(row)
    first = {kind: saved(drawn(rows).canvas, kind) for kind in PICTURES}
    theirs = {"font.size": 20, "svg.hashsalt": None, "lines.linewidth": 9}
    with matplotlib.rc_context(theirs), paper_style():
        assert {kind: saved(drawn(rows).canvas, kind) for kind in PICTURES} == first
    assert b"CreationDate" not in first["pdf"]
    assert b"<dc:date>" not in first["svg"]
    assert b"/FontFile2" in first["pdf"]  # TrueType; some publishers refuse Type 3
    assert first["svg"].startswith(b"<?xml")
    assert caplog.records == []  # fontTools reports every glyph


def test_a_heading_of_several_lines_makes_room_for_itself() -> None:
    heights = []
    for title in ("short", "a long heading " * 8):
        made = canvas(COLUMN, 2)
        heading(made, title, phantom=False)
        heights.append(made.get_figheight())
    assert heights[0] == 2
    assert heights[1] > 2.2


def test_lines_of_parts_against_the_training_of_the_victim(row: MakeRow) -> None:
    def trained(epochs: int, filter_: str, value: float, noise: str = "a.GaussianNoise") -> Row:
        parts = {"noise": {"class": noise}, "denoiser": {"class": f"a.{filter_}"}}
        config = {"victim": {"max_epochs": epochs}, "noise": noise, "denoiser": filter_}
        return row(value, filters=parts, config=config)

    rows = [trained(4, "Median", 0.7), trained(60, "Median", 0.2)]
    rows += [trained(4, "NoDefense", 0.6), trained(60, "NoDefense", 0.1)]
    rows += [trained(n, "Median", 0.5, "a.PoissonNoise") for n in (4, 60)]
    where = {"defense.noise": "GaussianNoise"}
    drawing = drawn(rows, x="victim.max_epochs", line="defense.denoiser", where=where)
    axes = axes_of(drawing)
    found = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    np.testing.assert_allclose(found, [[70, 20], [60, 10]])
    np.testing.assert_allclose(np.asarray(axes.get_lines()[0].get_xdata(), float), [4, 60])
    assert [text.get_text() for text in drawing.canvas.legends[0].get_texts()] == [
        "median",
        "no denoiser",
    ]
    assert axes.get_xlabel() == "max epochs"
