"""Attention maps, feature maps and cases of RM, from maps made by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import parse
from medrobust.result.maps import Maps, Side
from medrobust.result.row import Row

TAP = "attention4.map"
CLASSES = ("COVID", "Normal", "Viral Pneumonia")
MakeRow = Callable[..., Row]


def side(shift: float, count: int, channels: int) -> Side:
    """Maps that grow with the place, so that pictures can be told apart."""
    generator = np.random.default_rng(int(10 * shift))
    y, x = np.mgrid[:7, :9] / 8
    hill = np.exp(-((y - 0.5 - shift / 3) ** 2 + (x - 0.4) ** 2) * 6).astype(np.float32)
    stack = np.stack([hill * (1 + number) for number in range(count)])
    return Side(
        images=generator.integers(0, 256, (count, 28, 36, channels), dtype=np.uint8),
        victim_label=np.array([int(3 * shift) % 3] * count),
        defended_label=np.zeros(count, np.int64),
        confidence=np.linspace(3 - shift, 0.2, count),
        abstain=np.array([*[False] * (count - 1), True]),
        victim={TAP: stack + np.float32(shift)},
        defended={TAP: stack},
    )


def maps(count: int = 4, channels: int = 1) -> Maps:
    sides = side(0.0, count, channels), side(0.7, count, channels)
    ids = tuple(f"set/{number}" for number in range(count))
    return Maps(ids, np.zeros(count, np.int64), CLASSES, (TAP,), count, *sides)


@pytest.fixture
def source(tmp_path: Path, row: MakeRow) -> Callable[..., Source]:
    def make(made: Maps | None, *attacks: str) -> Source:
        rows = tuple(row(0.5, attack=attack, defense="medrdf") for attack in attacks)
        for item in rows:
            if made is not None:
                made.write(tmp_path / f"{item.id}.maps.npz")
        return Source(rows, {item.id: tmp_path / f"{item.id}.png" for item in rows})

    return make


@pytest.mark.parametrize(("kind", "panels"), [("attention", 4 * 6), ("features", 4 * 6)])
def test_maps_of_h_and_g(kind: str, panels: int, source: Callable[..., Source]) -> None:
    (figure,) = parse({"kind": kind, "tap": TAP})
    (drawing,) = figure.draw(source(maps(), "none", "pgd"))
    assert drawing.name == kind
    axes = [one for part in drawing.canvas.subfigs for one in part.axes]
    assert len(axes) == panels
    texts = [one.get_xlabel() for one in axes if one.get_xlabel()]
    assert len(texts) == 4 * 4
    assert texts.count("COVID") == 4 * 3  # h on clean images, g on both
    assert texts.count("✗ Viral\nPneumonia") == 4
    shown = [image for one in axes for image in one.images if image.get_array().shape == (7, 9)]
    assert len(shown) == 4 * 4
    expected = maps()
    wanted = [
        getattr(getattr(expected, name), who)[TAP][place]
        for place in range(4)
        for name in ("clean", "adversarial")
        for who in ("victim", "defended")
    ]
    for array in wanted:
        assert any(np.allclose(image.get_array(), array) for image in shown)
    scales = {image.get_clim() for image in shown[:4]}
    assert len(scales) == (1 if kind == "attention" else 2)


def test_cases_of_rm_are_spread_over_its_ranks(source: Callable[..., Source]) -> None:
    (figure,) = parse({"kind": "robust_metric", "cases": 3, "name": "fig5"})
    (drawing,) = figure.draw(source(maps(7, 3), "pgd"))
    said = [text.get_text() for axes in drawing.canvas.axes for text in axes.texts]
    assert [text for text in said if text.startswith("RM")] == [
        *("RM 3.00", "RM 1.60", "RM 0.20 – low"),  # 3 to 0.2 in seven steps: first, middle, last
        *("RM 2.30", "RM 1.25", "RM 0.20 – low"),
    ]
    assert "COVID (abstains)" in [axes.get_xlabel() for axes in drawing.canvas.axes]
    assert drawing.name == "fig5"
    assert "below 1 " in drawing.caption


def test_fewer_cases_and_several_cells(source: Callable[..., Source]) -> None:
    (figure,) = parse({"kind": "attention", "tap": TAP, "cases": 1})
    drawings = figure.draw(source(maps(), "pgd", "bim"))
    assert [drawing.name for drawing in drawings] == ["attention_0", "attention_1"]
    assert [len(drawing.canvas.subfigs) for drawing in drawings] == [1, 1]


def test_what_cannot_be_drawn_says_what_to_run(source: Callable[..., Source], tmp_path) -> None:
    (figure,) = parse({"kind": "attention", "tap": TAP})
    with pytest.raises(FigureError, match=r"run the sweep with 'maps=\{taps: \[attention4\.map\]"):
        figure.draw(source(None, "pgd"))
    with pytest.raises(FigureError, match="no attacked cell"):
        figure.draw(source(maps(), "none"))
    (other,) = parse({"kind": "features", "tap": "layer1.1"})
    with pytest.raises(FigureError, match=r"maps of \['attention4\.map'\], not of \['layer1\.1'\]"):
        other.draw(source(maps(), "pgd"))
    made = source(maps(), "pgd")
    (path,) = tmp_path.glob(f"{made.rows[0].id}.maps.npz")
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(FigureError, match="damaged"):
        figure.draw(made)


def test_no_robust_metric_without_a_vote(source: Callable[..., Source]) -> None:
    plain = maps()
    plain.clean.confidence[:] = np.nan
    (figure,) = parse({"kind": "robust_metric"})
    with pytest.raises(FigureError, match="set defense=medrdf"):
        figure.draw(source(plain, "pgd"))


@pytest.mark.parametrize("kind", ["attention", "features", "robust_metric"])
def test_bad_numbers_of_cases(kind: str) -> None:
    tap = {} if kind == "robust_metric" else {"tap": TAP}
    with pytest.raises(FigureError, match="cases=0, expected a number >= 1"):
        parse({"kind": kind, "cases": 0, **tap})


def masks(count: int = 3) -> Maps:
    """Masks of a square, found whole on clean images and by half on attacked ones."""
    true = np.zeros((count, 28, 36), np.int64)
    true[:, 8:20, 10:26] = 1
    sides = []
    for found in (true, true * (np.arange(36) < 18)):
        sides.append(
            Side(
                images=np.full((count, 28, 36, 3), 90, np.uint8),
                victim_label=found,
                defended_label=found,
                confidence=np.linspace(0.5, 1.5, count),
                abstain=true != found,
                victim={},
                defended={},
                confidence_map=np.linspace(0, 2, count * 28 * 36, dtype=np.float32).reshape(
                    count, 28, 36
                ),
            )
        )
    return Maps(tuple(map(str, range(count))), true, ("background", "polyp"), (), count, *sides)


def test_rm_of_each_pixel_beside_the_answer(source: Callable[..., Source]) -> None:
    (figure,) = parse({"kind": "rm_map", "cases": 2})
    (drawing,) = figure.draw(source(masks(), "none", "pgd"))
    axes = drawing.canvas.axes[:-1]  # the last is the scale
    assert len(axes) == 2 * 6
    made = masks()
    for line in range(2):
        picture, answer, metric, *attacked = axes[6 * line : 6 * line + 6]
        assert picture.collections  # the outline
        shown = answer.images[0].get_array()
        assert np.array_equal(shown[..., 0], made.clean.defended_label[line])
        red = attacked[1].images[0].get_array()
        silent = made.adversarial.abstain[line]
        assert (red[silent, 0] > red[silent, 1]).all()
        assert np.array_equal(metric.images[0].get_array(), made.clean.confidence_map[line])
        assert metric.images[0].get_clim() == (0, 2)
    assert metric.get_xlabel() == "mean 1.00"


def test_masks_and_classes_are_not_drawn_as_each_other(source: Callable[..., Source]) -> None:
    (rm_map,) = parse({"kind": "rm_map"})
    with pytest.raises(FigureError, match="no attacked cell has recorded images"):
        rm_map.draw(source(maps(), "pgd"))
    (cases,) = parse({"kind": "robust_metric"})
    with pytest.raises(FigureError, match="no attacked cell has recorded images"):
        cases.draw(source(masks(), "pgd"))
