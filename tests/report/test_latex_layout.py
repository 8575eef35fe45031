"""The layout of papers' tables: headings of several levels, groups of rows."""

import itertools
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.report.render import latex, markdown
from medrobust.report.render.text import parts
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.flag import flag
from tests.report.conftest import make_row

MODELS, THREATS = ("vgg_16", "resnet18"), ("oblivious", "adaptive")
ATTACKS, DEFENSES = ("none", "a&b/pgd_7"), ("none", "median", "50%")


def table(rows: tuple[str, ...], columns: tuple[str, ...]) -> Table:
    made = [
        make_row(number / 30, model=model, threat=threat, attack=attack, defense=defense)
        for number, (model, threat, attack, defense) in enumerate(
            itertools.product(MODELS, THREATS, ATTACKS, DEFENSES)
        )
    ]
    return build(made, TableConfig(rows=rows, columns=columns))


def cells(line: str) -> list[str]:
    return [
        text.strip() for text in re.split(r"(?<!\\)&", line.removesuffix(r"\\").removesuffix(" "))
    ]


def width(cell: str) -> int:
    found = re.match(r"\\multicolumn\{(\d+)\}", cell)
    return int(found[1]) if found else 1


def grids(text: str) -> list[tuple[str, list[str]]]:
    """Letters of the columns, and the lines between the outer rules, of each grid."""
    found = re.findall(r"\\sbox0\{%\n(.*?)\}%\n", text, re.DOTALL)
    made = []
    for grid in found:
        first, *inner, last = grid.splitlines()
        layout = re.fullmatch(r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}", first)
        assert layout
        assert (inner[0], inner[-1], last) == (r"\toprule", r"\bottomrule", r"\end{tabular}")
        made.append((layout[1], inner[1:-1]))
    return made


def lines(text: str) -> list[str]:
    ((_, only),) = grids(text)
    return only


RULE = r"\\midrule|\\addlinespace(\[2pt\])?|(\\cmidrule\(lr\)\{\d+-\d+\} ?)+"


def check(text: str) -> None:
    """The structure TeX asks for."""
    for layout, inner in grids(text):
        for line in inner:
            if line.endswith(r"\\"):
                assert sum(map(width, cells(line))) == len(layout), line
            else:
                assert re.fullmatch(RULE, line), line
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{([\w*]+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    printed = re.sub(r"\\label\{[a-z0-9:-]+\}", "", text)
    assert not re.search(r"(?<!\\)[#_](?!\d\$)", printed)
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0


def labels(line: str) -> list[str]:
    """The labels of a line of headings, each as often as it spans columns."""
    found = []
    for cell in cells(line):
        group = re.fullmatch(r"\\multicolumn\{\d+\}\{c\}\{(.*)\}", cell)
        broken = re.fullmatch(r"\\begin\{tabular\}\[b\]\{@\{\}r@\{\}\}(.*)\\end\{tabular\}", cell)
        text = group[1] if group else broken[1].replace(r" \\ ", " ") if broken else cell
        found += [text] * width(cell)
    return found


def read(text: str) -> dict[tuple[str, ...], str]:
    """Heading of the block, labels of the line and of the column -> cell, as a reader sees them."""
    found: dict[tuple[str, ...], str] = {}
    for layout, inner in grids(text):
        sides, at = layout.count("l"), inner.index(r"\midrule")
        heads = [labels(line) for line in inner[:at] if line.endswith(r"\\")]
        tops = list(zip(*heads, strict=True))[sides:]
        block, above = "", [""] * sides
        for line in (one for one in inner[at:] if one.endswith(r"\\")):
            named = re.fullmatch(r"\\multicolumn\{\d+\}\{@\{\}l\}\{\\textit\{(.*)\}\} \\\\", line)
            if named:
                block = named[1]
                continue
            own = cells(line)
            above = [one or above[place] for place, one in enumerate(own[:sides])]
            for top, cell in zip(tops, own[sides:], strict=True):
                bare = re.sub(r"\\(rlap|phantom)\{.*?\$\}|\$\^\{[\d,]+\}\$", "", cell)
                if cell:
                    found[block, *above, *top] = re.sub(r"\\textbf\{(.*)\}", r"\1", bare)
    return found


def test_columns_of_two_axes_have_two_headings() -> None:
    text = latex.render(table(("model", "threat"), ("attack", "defense")))
    check(text)
    head = lines(text)[:3]
    assert cells(head[0]) == [
        "",
        "",
        r"\multicolumn{3}{c}{clean}",
        r"\multicolumn{3}{c}{a\&b/pgd\_7}",
    ]
    assert head[1] == r"\cmidrule(lr){3-5} \cmidrule(lr){6-8}"
    assert cells(head[2]) == ["model", "threat", *("undefended", "median", r"50\%") * 2]


def test_three_levels_nest() -> None:
    text = latex.render(table(("defense",), ("model", "threat", "attack")))
    check(text)
    assert [[*map(width, cells(line))] for line in lines(text)[0:5:2]] == [
        [1, 4, 4],
        [1, 2, 2, 2, 2],
        [1] * 9,
    ]
    assert lines(text)[3].count("cmidrule") == 4


def test_rows_of_three_axes_are_grouped() -> None:
    text = latex.render(table(("model", "attack", "defense"), ("threat",)))
    check(text)
    body = lines(text)[2:]
    rows = [cells(line)[:3] for line in body if line.endswith(r"\\")]
    assert rows[:4] == [
        [r"vgg\_16", "clean", "undefended"],
        ["", "", "median"],
        ["", "", r"50\%"],
        ["", r"a\&b/pgd\_7", "undefended"],
    ]
    assert rows[6] == ["ResNet-18", "clean", "undefended"]  # printed again in the new group
    rules = [(at, line) for at, line in enumerate(body) if not line.endswith(r"\\")]
    assert rules == [(3, r"\addlinespace"), (7, r"\midrule"), (11, r"\addlinespace")]


def test_each_threat_has_a_block_of_its_own() -> None:
    shown = table(("model", "threat", "defense"), ("attack",))
    text = latex.render(shown)
    inner = lines(text)
    places = [inner.index(one) for one in inner if r"\textit{" in one]
    assert [inner[at] for at in places] == [
        rf"\multicolumn{{4}}{{@{{}}l}}{{\textit{{{name}}}}} \\"
        for name in ("Oblivious", "Adaptive")
    ]
    assert [inner[at - 1] for at in places] == [r"\midrule"] * 2
    assert "Adaptive: the attacker knows classifier and defense." in text.split("minipage")[1]
    first, second = blocks(shown)
    assert first.row_axes == second.row_axes == ("model", "defense")
    assert len(first.cells) == len(second.cells) == 6
    assert blocks(first) == [first]
    made = [
        make_row(0.5, threat=threat, surrogate=surrogate, defense=defense)
        for threat, surrogate in (("transfer", "vgg_16"), ("adaptive", ""))
        for defense in DEFENSES
    ]
    first, second = blocks(build(made, TableConfig(rows=("threat", "defense"))))
    assert first.heading.endswith("another classifier · surrogate vgg_16")
    assert second.heading.endswith("classifier and defense")
    assert first.row_axes == second.row_axes == ("defense",)
    inner = table(("model", "threat"), ("attack", "defense"))  # side by side, to be compared
    assert blocks(inner) == [inner]


def test_rules_stand_around_groups_of_several_rows() -> None:
    pairs = [("vgg16", "none"), ("resnet50", "none"), *(("resnet18", name) for name in DEFENSES)]
    rows = [
        make_row(number / 10, model=model, defense=defense)
        for number, (model, defense) in enumerate(pairs)
    ]
    shown = build(rows, TableConfig(rows=("model", "defense")))
    body = lines(latex.render(shown))[2:]
    assert [at for at, line in enumerate(body) if line == r"\midrule"] == [2]


def test_groups_of_one_row_have_no_rules() -> None:
    rows = [
        make_row(number / 10, model=model, defense=defense)
        for number, (model, defense) in enumerate([("vgg16", "none"), ("resnet18", "median")])
    ]
    shown = build(rows, TableConfig(rows=("model", "defense")))
    assert r"\addlinespace" not in latex.render(shown)
    assert latex.render(shown).count(r"\midrule") == 1


def test_markdown_prints_a_repeated_label_once_and_every_level_of_a_column() -> None:
    text = markdown.render(table(("model", "defense"), ("threat", "attack")))
    found = [line for line in text.splitlines() if line.startswith("|")]
    assert found[0] == (
        "| model | defense | oblivious · clean | oblivious · a&b/pgd\\_7 "
        "| adaptive · clean | adaptive · a&b/pgd\\_7 |"
    )
    labels = [[cell.strip() for cell in line.split("|")[1:3]] for line in found[2:]]
    assert labels == [
        *(["vgg\\_16", "undefended"], ["", "median"], ["", "50%"]),
        *(["ResNet-18", "undefended"], ["", "median"], ["", "50%"]),
    ]


@settings(max_examples=40, deadline=None)
@given(
    places=st.sets(
        st.tuples(*(st.sampled_from(names) for names in (MODELS, THREATS, ATTACKS, DEFENSES))),
        min_size=1,
    ),
    axes=st.permutations(["model", "threat", "attack", "defense"]),
    cut=st.integers(1, 3),
)
def test_a_reader_finds_every_number_at_its_place(
    places: set[tuple], axes: list[str], cut: int
) -> None:
    rows = [
        make_row(number / 30, model=model, threat=threat, attack=attack, defense=defense)
        for number, (model, threat, attack, defense) in enumerate(sorted(places))
    ]
    shown = build(rows, TableConfig(rows=tuple(axes[:cut]), columns=tuple(axes[cut:])))
    text = latex.render(shown)
    check(text)
    expected = {}
    for block in blocks(shown):
        for heading, line in zip(block.row_headings, block.cells, strict=True):
            for top, cell in zip(block.column_headings, line, strict=True):
                levels = (
                    *(level for level in heading if level.axis in block.row_axes),
                    *(level for level in top if level.axis in block.column_axes),
                )
                name = re.sub(r": [^·]*(?= ·|$)", "", block.heading)  # its meaning is a note
                names = (name, *(level.label for level in levels))
                key = tuple(map(latex.escape, names))
                expected[key] = latex.escape(parts(block, cell).ours)
    assert read(text) == expected


def test_what_is_too_wide_or_long_for_a_page_is_broken() -> None:
    rows = [
        make_row((line * 17 + column) / 999, attack=f"attack_{column}", defense=f"defense_{line}")
        for line in range(50)
        for column in range(17)
    ]
    shown = build(rows, TableConfig(rows=("defense",), columns=("attack",)))
    text = latex.render(shown)
    check(text)
    assert len(read(text)) == len(rows)
    made = grids(text)
    assert len(made) == 4
    assert max(len(inner) for _, inner in made) <= 44
    assert text.count(r"\label{") == text.count(r"\end{minipage}") == 1
    assert text.count(", continued.}") == text.count(r"\addtocounter{table}{-1}") == 3


def test_numbers_stand_above_each_other_whatever_marks_follow() -> None:
    rows = [
        make_row(0.5, defense="none", flags=[flag("text", text="a"), flag("text", text="b")]),
        make_row(0.4, defense="median", flags=[flag("text", text="a")]),
        make_row(0.3, defense="jpeg"),
    ]
    body = lines(latex.render(build(rows, TableConfig(rows=("defense",), best="none"))))[2:]
    assert [cells(line)[1] for line in body] == [
        "50.0$^{1,2}$",
        r"40.0\rlap{$^{1}$}\phantom{$^{1,2}$}",
        r"30.0\phantom{$^{1,2}$}",
    ]


def test_the_float_is_as_wide_as_its_table() -> None:
    narrow = latex.render(build([make_row(0.5), make_row(0.4, attack="bim")], TableConfig()))
    assert r"\begin{table}" in narrow
    rows = [make_row(0.5, attack=f"attack_{number}") for number in range(6)]
    assert r"\begin{table*}" in latex.render(build(rows, TableConfig()))


def test_the_label_names_title_data_model_and_metric() -> None:
    shown = table(("model", "threat"), ("attack", "defense"))
    assert latex.label(replace(shown, title="MedRDF, Table 3")) == (
        "tab:medrdf-table-3-dermamnist-accuracy"
    )
    one = build([make_row(0.5)], TableConfig(title="Robustness"))
    stand_in = build([make_row(0.5, phantom=True)], TableConfig(title="Robustness"))
    assert (
        latex.label(one) == latex.label(stand_in) == "tab:robustness-dermamnist-resnet18-accuracy"
    )


def test_what_made_the_numbers_is_a_comment() -> None:
    text = latex.render(build([make_row(0.5, code={"package": "f" * 64})], TableConfig()))
    comments = [line for line in text.splitlines() if line.startswith("%")]
    assert text.startswith("\n".join(comments))
    assert "% Code revision 0123abc." in comments
    assert "% Digest of the package: ffffffffffff." in comments
    assert "0123abc" not in text.replace("\n".join(comments), "")
    odd = build([make_row(0.5, revision="a\n\\input{b}")], TableConfig())
    assert "\n\\input" not in latex.render(odd)


@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("é", r"\'{e}"),
        ("Łódź", r"\L{}\'{o}d\'{z}"),
        ("naïve", r"na\"{\i}ve"),
        ("中", "U+4E2D"),
        ("σ = 0.25 L∞ 3×3", r"$\sigma$ = 0.25 L$\infty$ 3$\times$3"),
    ],
)
def test_signs_are_commands_or_code_points(text: str, tex: str) -> None:
    assert latex.escape(text) == tex
