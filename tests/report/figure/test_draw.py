"""Figures from the config's node to files, the logger and the page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medrobust.cli.report import main
from medrobust.report.figure.confusion import Confusion
from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import kinds, parse
from medrobust.report.figure.curve import Curve
from medrobust.result.row import Row

MakeRow = Callable[..., Row]


def test_every_kind_is_a_module() -> None:
    assert {"confusion", "curve"} <= set(kinds())
    assert "base" not in kinds()


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("confusion", "figure is 'confusion', expected null"),
        ({"kind": "pie"}, "its `kind` is one of .*confusion, convergence, curve"),
        ([{"attack": ["pgd"]}], r"figure\[0\] is .*its `kind` is one of"),
        ({"kind": "confusion", "attacks": []}, r"unknown keys \['attacks'\]; known are \['attack'"),
        ({"kind": "confusion", "attack": [3]}, r"attack is \[3\], expected list of str"),
        ({"kind": "curve"}, r"figure lacks \['x'\]"),
        ({"kind": "curve", "x": "steps"}, "'steps' is no setting such as defense.steps"),
        ({"kind": "curve", "x": ""}, "x is empty"),
        ([{"kind": "curve", "x": "attack.eps", "line": "eps"}], "'eps' is no setting"),
        ({"kind": "curve", "x": "attack.eps", "where": 3}, "where is 3, expected dict"),
        ({"kind": "curve", "x": "attack.eps", "width": "slide"}, "width is 'slide', expected"),
    ],
)
def test_a_wrong_node_is_told(node: Any, message: str) -> None:
    with pytest.raises(FigureError, match=message):
        parse(node)


def test_a_node_is_one_figure_or_a_list() -> None:
    assert parse(None) == ()
    one = parse({"kind": "confusion", "attack": "pgd"})
    assert one == (Confusion(name="confusion", attack="pgd"),)  # type: ignore[arg-type]
    two = parse([{"kind": "curve", "x": "attack.eps", "name": "a"}, {"kind": "confusion"}])
    assert two == (Curve(name="a", x="attack.eps"), Confusion(name="confusion"))


def confused(row: MakeRow, accuracy: float, **more: Any) -> Row:
    right = round(10 * accuracy)
    counts = [[right, 10 - right, 0], [10 - right, right, 0], [0, 0, 0]]
    return row(accuracy, confusion=counts, classes=["MEL", "NV", "BCC"], **more)


def test_confusion_has_a_panel_per_defense_and_a_drawing_per_attack(row: MakeRow) -> None:
    rows = [
        confused(row, value, attack=attack, defense=defense, settings={"eps": 2 / 255})
        for attack in ("pgd", "mdda/dim")
        for defense, value in (("none", 0.1), ("mdda/n5", 0.6), ("nrp", 0.4))
    ]
    source = Source(tuple(rows), {})
    (drawing,) = Confusion(name="fig4", attack=("mdda/dim",)).draw(source)
    assert drawing.name == "fig4"
    panels = [axes for axes in drawing.canvas.axes if axes.get_visible()]
    titles = [axes.get_title().split("\n")[0] for axes in panels]
    assert titles == ["undefended", "mdda/n5", "NRP"]
    fields = [text.get_text() for text in panels[1].texts]
    assert fields == ["60", "40", "0", "40", "60", "0", "–", "–", "–"]  # BCC has no image
    assert "mdda/dim, ε = 2/255" in drawing.caption
    assert drawing.canvas.get_suptitle() == "mdda/dim, ε = 2/255"
    chosen = Confusion(name="c", attack=("pgd",), defense=("nrp", "none"))
    (drawing,) = chosen.draw(source)
    panels = [axes for axes in drawing.canvas.axes if axes.get_visible()]
    assert [axes.get_title().split("\n")[0] for axes in panels] == ["NRP", "undefended"]
    (drawing,) = Confusion(name="c", title="MDDA Figure 4", attack=("pgd",)).draw(source)
    assert drawing.canvas.get_suptitle() == "MDDA Figure 4 · pgd, ε = 2/255"
    both = Confusion(name="c").draw(source)
    assert [one.name for one in both] == ["c_pgd_eps_2_255", "c_mdda_dim_eps_2_255"]
    with pytest.raises(FigureError, match=r"no finished row .* fits attack=\['bim'\]"):
        Confusion(attack=("bim",)).draw(source)


def steps(
    row: MakeRow, accuracy: float, n: int, attack: str, eps: float | None, **more: Any
) -> Row:
    settings = {} if eps is None else {"eps": eps}
    filters = {"steps": n, "sigma2": more.pop("sigma2", 0.125)}
    return row(accuracy, attack=attack, defense="mdda", settings=settings, filters=filters, **more)


def test_a_curve_is_the_mean_over_attacks_where_all_are_there(row: MakeRow) -> None:
    rows = [steps(row, 0.6 + n / 100, n, "none", None) for n in (1, 2, 3)]
    rows += [steps(row, 0.2, n, "pgd", 2 / 255) for n in (1, 2, 3)]
    rows += [steps(row, 0.1, n, "pgd", 6 / 255) for n in (1, 3)]
    curve = Curve(name="n", x="defense.steps", over=("none", "pgd"), line="attack.eps")
    lines = dict(curve.lines(rows))
    assert list(lines) == ["ε = 2/255", "ε = 6/255"]
    assert [(p.x, round(p.value, 9)) for p in lines["ε = 2/255"].points] == [
        (1, 0.405),
        (2, 0.41),
        (3, 0.415),
    ]
    assert [(p.x, round(p.value, 9)) for p in lines["ε = 6/255"].points] == [(1, 0.355), (3, 0.365)]
    point = lines["ε = 2/255"].points[0]
    assert (point.low, point.high) == pytest.approx((0.385, 0.425))  # the rows' are ± 0.02
    (drawing,) = curve.draw(Source(tuple(rows), {}))
    assert drawing.canvas.axes[0].get_ylabel() == "mean accuracy (%)"
    assert "under none, pgd" in drawing.caption
    with pytest.raises(FigureError, match=r"no value of defense\.steps has accuracy finished"):
        Curve(x="defense.steps", over=("none", "bim")).draw(Source(tuple(rows), {}))


def test_two_rows_at_one_point_are_told_apart_by_where(row: MakeRow) -> None:
    rows = [steps(row, 0.5, 3, "none", None, sigma2=s) for s in (0.1, 0.125)]
    with pytest.raises(FigureError, match=r"two rows of none stand at defense\.steps=3.*sigma2"):
        Curve(x="defense.steps").draw(Source(tuple(rows), {}))
    curve = Curve(x="defense.steps", where={"defense.sigma2": "1/8"})
    assert [len(one.points) for _, one in curve.lines([r for r in rows if curve._wanted(r)])] == [1]
    across = dict(Curve(x="defense.sigma2", over=("none",)).lines(rows))
    assert [point.x for point in across["mdda"].points] == [0.1, 0.125]


def test_files_and_page_of_a_sweep(
    row: MakeRow, sweep_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [confused(row, 0.2, defense=name, phantom=True) for name in ("none", "jpeg")]
    folder = sweep_folder(rows, {})
    plan = json.loads((folder / "sweep.json").read_text())
    nodes = [{"kind": "confusion", "attack": "pgd"}, {"kind": "confusion"}]
    (folder / "sweep.json").write_text(json.dumps(plan | {"figure": nodes}))
    assert main([str(folder)]) == 0
    files = sorted(path.name for path in (folder / "figures").iterdir())
    assert files == sorted(
        f"{name}.{ending}"
        for name in ("confusion", "confusion_2")
        for ending in ("pdf", "png", "svg")
    )
    first = {name: (folder / "figures" / name).read_bytes() for name in files}
    assert first["confusion.png"].startswith(b"\x89PNG")
    assert first["confusion.pdf"].startswith(b"%PDF")
    assert b"<svg" in first["confusion.svg"]
    page = (folder / "report.html").read_text()
    assert page.count('<figure class="drawn">') == 2
    assert main([str(folder)]) == 0
    assert first == {name: (folder / "figures" / name).read_bytes() for name in files}

    capsys.readouterr()
    nodes = [{"kind": "confusion", "attack": "bim"}]
    (folder / "sweep.json").write_text(json.dumps(plan | {"figure": nodes}))
    assert main([str(folder)]) == 1
    printed = capsys.readouterr()
    assert "✗ figure confusion: no finished row" in printed.err
    assert "same command" not in printed.err
    (folder / "sweep.json").write_text(json.dumps(plan | {"figure": {"kind": "pie"}}))
    assert main([str(folder)]) == 2


def test_a_phantom_figure_says_so(row: MakeRow) -> None:
    rows = (confused(row, 0.2, phantom=True),)
    (drawing,) = Confusion(name="c").draw(Source(rows, {}))
    assert drawing.canvas.get_suptitle() == "PHANTOM DATA, no result: pgd"
