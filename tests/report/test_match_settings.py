"""A paper's tokens that follow settings of ours; notes that composed configs add up."""

import pytest

from medrobust.report.table.config import TableConfig, TableError
from medrobust.report.table.paper_number import paper_value
from tests.report.conftest import make_row

NODE = {
    "paper": "medrdf",
    "table": "table1",
    "defenses": {"medrdf": {"defense": "medrdf", "tokens": ["sigma={noise.sigma}", "n={n}"]}},
}


def row(filters: dict) -> object:
    return make_row(
        0.9,
        data="covid_radiography",
        model="resnet50",
        attack="none",
        defense="medrdf",
        filters=filters,
    )


@pytest.mark.parametrize(("sigma", "printed"), [(0.05, 0.934), (0.1, 0.916), (0.07, None)])
def test_a_token_follows_a_nested_setting(sigma: float, printed: float | None) -> None:
    reference = TableConfig.parse({"reference": NODE}).reference
    assert reference is not None
    found = paper_value(row({"noise": {"sigma": sigma}, "n": 10_000}), reference)
    assert (found and found.value) == printed


def test_a_token_of_a_setting_that_is_not_there() -> None:
    reference = TableConfig.parse({"reference": NODE}).reference
    assert reference is not None
    with pytest.raises(TableError, match=r"medrdf asks for the setting 'noise\.sigma'"):
        paper_value(row({"n": 10_000}), reference)


def test_notes_by_name() -> None:
    notes = {"first": "A note.", "dropped": None, "second": "Another."}
    reference = TableConfig.parse({"reference": {**NODE, "notes": notes}}).reference
    assert reference is not None
    assert reference.notes == ("A note.", "Another.")
