from pathlib import Path
from typing import get_args

import pytest
import yaml

from medrobust.metric.definition import UNITS, Unit, definition, heading_of, unit_of, unknown
from medrobust.report.table.config import TableConfig
from medrobust.report.table.measure import OF_TIME
from medrobust.report.table.node import TableError

CONF = Path(__file__).parents[2] / "conf"


def test_units() -> None:
    assert get_args(Unit) == UNITS
    expected = {
        "accuracy": "proportion",
        "clean_accuracy": "proportion",
        "accuracy_worst_draw": "proportion",
        "clean_accuracy_worst_draw": "proportion",
        "auroc_detection_successful": "proportion",
        "certified_accuracy@0.25": "proportion",
        "accuracy_mean": "proportion",
        "robust_metric": "number",
        "copies": "number",
        "queries_max": "count",
        "feature_mean": "ratio",
        "feature_mean_clean": "ratio",
        "perturbation_variance": "ratio",
        "seconds_per_image": "seconds",
        "training_hours": "hours",
        "my_own": "number",
    }
    assert {name: unit_of(name) for name in expected} == expected
    assert definition("my_own") is None
    assert all(definition(name) for name in OF_TIME)
    assert heading_of("map_50") == "mAP at IoU 0.5"
    assert heading_of("my_own") == "my own"
    assert "did you mean accuracy" in unknown("acuracy")
    assert "known are ['abstention_rate', " in unknown("xyz")


def test_every_metric_of_the_configs_is_defined() -> None:
    found = 0
    for path in [CONF / "evaluate.yaml", *(CONF / "experiment").rglob("*.yaml")]:
        node = yaml.safe_load(path.read_text()).get("table") or {}
        names = [node.get("metric"), *(node.get("metrics") or ()), *(node.get("extra") or ())]
        for name in filter(None, names):
            assert definition(name), (path.name, name)
            found += 1
    assert found > 40


def test_a_metric_of_ones_own_says_its_unit() -> None:
    node = {"rows": ["defense"], "columns": ["attack"], "metric": "my_own"}
    with pytest.raises(TableError, match=r"'my_own' is no metric.*\+table.units.my_own=number"):
        TableConfig.parse(node).check_metrics()
    config = TableConfig.parse({**node, "units": {"my_own": "proportion"}})
    config.check_metrics()
    assert config.unit_of("my_own") == "proportion"
    with pytest.raises(TableError, match=r"table.units.my_own is 'percent', expected proportion"):
        TableConfig.parse({**node, "units": {"my_own": "percent"}})
