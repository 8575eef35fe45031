import csv
import io
import re
from dataclasses import replace

import pytest
from matplotlib.image import imread
from rich.console import Console

from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.terminal import show
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.report.write import write
from medrobust.result.flag import flag
from tests.report.conftest import make_row

ATTACKS = ("none", *(f"medrdf/ifgsm_{n}" for n in (1, 2, 5, 7)), *(f"pgd_{n}" for n in range(4)))


def table(*, phantom: bool = False, **node: object) -> Table:
    """12 × 9, with the paper's numbers on clean images."""
    rows = [
        make_row(
            None if (i, j) == (3, 3) else (i + j) / 25,
            attack=attack,
            defense="none" if i == 0 else f"defense_{i}",
            phantom=phantom,
            flags=[flag("text", text="zero_gradient & more")] if j == 8 else [],
        )
        for i in range(12)
        for j, attack in enumerate(ATTACKS)
        if (i, j) != (5, 5)
    ]
    reference = {
        "paper": "medrdf",
        "table": "table3",
        "defenses": {f"defense_{i}": {"defense": "median_filter"} for i in range(12)},
        "attacks": {f"medrdf/ifgsm_{n}": {"attack": "bim", "steps": n} for n in (1, 2, 5, 7)},
        "notes": ["50 % of x_1 | 2"],
    }
    return build(rows, TableConfig.parse({"title": "T_1", "reference": reference, **node}))


def printed(width: int, shown: Table, *, terminal: bool = True) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    show(shown, console)
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 160, 250])
def test_terminal_shows_every_number_within_its_width(width: int) -> None:
    shown = table()
    text = printed(width, shown)
    grid = text[: text.index("accuracy, %")]
    assert "…" not in text
    assert max(map(len, grid.splitlines()[2:])) <= width
    numbers = re.findall(r"\d+\.\d(?=[¹ \n])", grid)
    for line in shown.cells:
        for cell in line:
            if cell.value is not None:
                assert f"{100 * cell.value:.1f}" in numbers
    assert grid.count("✗") == 1


def test_terminal_wide_enough_has_one_line_per_row() -> None:
    text = printed(250, table())
    assert "0.0 / 74.1 (−74.1)*" in text
    assert "legend" not in text
    assert "✗ failed; — not run." in text
    assert "¹ zero_gradient & more." in text


def test_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show(table())
    assert "0.0 / 74.1 (−74.1)*" in capsys.readouterr().out


def test_markdown_is_a_table() -> None:
    lines = [line for line in markdown.render(table()).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 12
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {11}
    assert lines[2].startswith("| undefended | 0.0 / 74.1 (−74.1)\\* |")
    assert lines[-1].count("**") == 2 * 9  # the best of each column
    assert "\n".join(lines[:-1]).count("**") == 0
    assert "**" not in markdown.render(table(best="none"))


def test_latex_is_escaped() -> None:
    escaped = latex.escape(r"50% of a_b & {c} #1 $x ~ ^ \n < 3×ε")
    assert escaped == (
        r"50\% of a\_b \& \{c\} \#1 \$x \textasciitilde{} \textasciicircum{} "
        r"\textbackslash{}n $<$ 3$\times$$\varepsilon$"
    )


SIGNS = ["[2pt] x", "* x", "a]b", "--x", "?`", "a\u2028b", "a\rb", "a\tb"]


@pytest.mark.parametrize("name", SIGNS)
def test_latex_takes_a_label_for_no_option_of_a_line(name: str) -> None:
    text = latex.render(build([make_row(0.5, defense=name), make_row(0.4)], CONFIG))
    assert not re.search(r"\\\\\s*[\[*]", text)
    assert "--" not in text
    assert not re.search(r"[\u2028\r\t]", text)
    assert text.count("\\\\") == 3


CONFIG = TableConfig(title="T", rows=("defense",), columns=("attack",))
FORMULAS = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "＝1"]


@pytest.mark.parametrize("name", FORMULAS)
def test_csv_has_no_formula(name: str) -> None:
    rows = [
        make_row(0.5, defense=name, attack=name),
        make_row(-0.4, flags=[flag("text", text=name)]),
    ]
    found = list(csv.DictReader(io.StringIO(tidy.render(build(rows, CONFIG)), newline="")))
    for line in found:
        for key in line.keys() - {"value", "low", "high"}:
            assert not line[key].startswith(tuple("=+-@\t\r＝")), (key, line[key])
    assert found[0]["defense"] == f"'{name}"
    assert float(found[-1]["value"]) == -0.4


@pytest.mark.parametrize(
    "name",
    ["[a](http://b)", "![a](b)", "a&lt;b", "~~a~~", "a\u2028b", "a\rb", "# a", "$a$", "<b>", "a|b"],
)
def test_markdown_prints_a_title_as_it_is(name: str) -> None:
    rows = [make_row(0.5, defense=name), make_row(0.4)]
    text = markdown.render(build(rows, replace(CONFIG, title=name)))
    assert not re.search(r"(?<!\\)[\[\]~<$]|(?<!\\)&\w+;|[\r\u2028]", text)
    assert text.splitlines()[0].startswith("## ")
    grid = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in grid} == {3}


@pytest.mark.parametrize("start", ["- a", "+ a", "1. a", "2) a", "===", "> a", "    a", "# a"])
def test_markdown_takes_a_note_for_text(start: str) -> None:
    assert re.match(r"\\[-+=>#]|\d\\[.)]|a", markdown.paragraph(start))


def test_latex_is_a_table() -> None:
    text = latex.render(table())
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(lines) == 1 + 12
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {9}
    assert r"\caption{T\_1: DermaMNIST" in text
    assert r"50 \% of x\_1 \textbar{} 2" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\textbf{") == 9  # the best of each column
    assert lines[-1].count(r"\textbf{") == 9
    assert text.isascii()


def test_best_may_be_the_lowest() -> None:
    text = latex.render(table(best="low"))
    first = next(line for line in text.splitlines() if line.startswith("undefended &"))
    assert first.count(r"\textbf{") == 9
    assert r"\textbf{" not in latex.render(table(best="none"))


def test_csv_has_one_line_per_cell() -> None:
    lines = tidy.render(table()).splitlines()
    assert len(lines) == 1 + 12 * 9
    names = lines[0].split(",")
    first = dict(zip(names, lines[1].split(","), strict=True))
    assert (first["value"], first["paper_value"], first["difference"]) == ("0.0", "0.741", "-0.741")
    assert first["paper_in_interval"] == "False"


def test_picture_is_drawn_and_marked_on_phantoms() -> None:
    plain, marked = heatmap.render(table()), heatmap.render(table(phantom=True))
    for data in (plain, marked):
        picture = imread(io.BytesIO(data))
        assert picture.shape[0] > 800
        assert picture.shape[1] > 1200
    assert heatmap.render(table()) == plain
    assert marked != plain
    pdf, svg = (heatmap.render(table(), kind) for kind in ("pdf", "svg"))
    assert pdf.startswith(b"%PDF")
    assert b"<svg" in svg
    assert (heatmap.render(table(), "pdf"), heatmap.render(table(), "svg")) == (pdf, svg)


def test_phantoms_are_named_in_every_rendering() -> None:
    shown = table(phantom=True)
    for text in (printed(200, shown), markdown.render(shown), latex.render(shown)):
        assert "PHANTOM DATA, no result" in text
        assert "74.1" not in text
        assert "aper" not in text
    assert tidy.render(shown).count(",True,") >= 12 * 9


def test_a_table_of_one_cell_and_of_failures(tmp_path: object) -> None:
    for rows in ([make_row(0.5)], [make_row(None)], [make_row(1.0), make_row(None, attack="bim")]):
        shown = build(rows, TableConfig(percent=False))
        assert printed(80, shown)
        write(shown, str(tmp_path))


def test_unknown_formats_are_refused(tmp_path: object) -> None:
    with pytest.raises(ValueError, match=r"eps.*choose from csv, md, tex, png, pdf, svg"):
        write(table(), str(tmp_path), ["eps"])
