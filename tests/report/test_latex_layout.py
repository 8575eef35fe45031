"""The layout of papers' tables: headings of several levels, groups of rows."""

import itertools
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.report.render import latex, markdown
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
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


def lines(text: str) -> list[str]:
    tabular = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    return tabular.splitlines()[1:]


def check(text: str) -> None:
    """The structure TeX asks for."""
    layout = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
    assert layout
    for line in lines(text):
        if line.endswith(r"\\"):
            assert sum(map(width, cells(line))) == len(layout[1]), line
        else:
            assert re.fullmatch(
                r"\\midrule|\\addlinespace|(\\cmidrule\(lr\)\{\d+-\d+\} ?)+", line
            ), line
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    assert not re.search(r"(?<!\\)[#_](?!\d\$)", text)
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        assert depth >= 0
    assert depth == 0


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
    assert text.count(r"\begin{tabular}") == 2
    assert text.index("Oblivious: ") < text.index(r"\toprule") < text.index("Adaptive: ")
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
def test_any_sweep_is_a_sound_table(places: set[tuple], axes: list[str], cut: int) -> None:
    rows = [
        make_row(0.5, model=model, threat=threat, attack=attack, defense=defense)
        for model, threat, attack, defense in sorted(places)
    ]
    shown = build(rows, TableConfig(rows=tuple(axes[:cut]), columns=tuple(axes[cut:])))
    whole = latex.render(shown)
    for block in blocks(shown):
        text = latex.render(block)
        check(text)
        assert all(line in whole for line in lines(text))
        assert latex.escape(block.heading) in whole
        check_headings(block, text)


def check_headings(shown: Table, text: str) -> None:
    """Filling blanks from above gives back every heading."""
    side = len(shown.row_axes)
    body = lines(text)[2 * len(shown.column_axes) :]
    above: list[str] = []
    read = []
    for line in body:
        if line.endswith(r"\\"):
            above = [own or above[at] for at, own in enumerate(cells(line)[:side])]
            read.append(above)
    assert read == [
        [latex.escape(level.label) for level in heading if level.axis in shown.row_axes]
        for heading in shown.row_headings
    ]
