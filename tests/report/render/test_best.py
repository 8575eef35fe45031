"""Bold values: which lines are compared."""

from collections.abc import Callable, Sequence
from typing import Any

from medrobust.report.render.best import best
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.result.row import Row

MakeRow = Callable[..., Row]


def bold(rows: Sequence[Row], *axes: str, **more: Any) -> list[float | None]:
    """The bold values of a table with one column, line by line; None where one is not bold."""
    shown = build(rows, TableConfig.parse({"rows": list(axes), "columns": ["attack"]} | more))
    places = best(shown)
    return [line[0].value if (at, 0) in places else None for at, line in enumerate(shown.cells)]


def test_each_group_has_its_own(row: MakeRow) -> None:
    values = {
        ("vgg16", "none"): 0.1,
        ("vgg16", "jpeg"): 0.2,
        ("unet", "none"): 0.8,
        ("unet", "jpeg"): 0.7,
    }
    rows = [row(value, model=model, defense=defense) for (model, defense), value in values.items()]
    assert bold(rows, "model", "defense") == [None, 0.2, 0.8, None]
    assert bold(rows, "model", "defense", best="low") == [0.1, None, None, 0.7]


def test_data_sets_and_threats_are_not_compared(row: MakeRow) -> None:
    for axis, names in (("data", ("mnist", "bloodmnist")), ("threat", ("oblivious", "adaptive"))):
        rows = [row(value, **{axis: name}) for name, value in zip(names, (0.1, 0.9), strict=True)]
        assert bold(rows, "defense", axis) == [None, None]


def test_settings_of_a_defense_are_compared_with_each_other(row: MakeRow) -> None:
    rows = [
        row(value, defense="mdda", filters={"sigma2": sigma, "steps": steps})
        for value, sigma, steps in ((0.1, 1, 1), (0.3, 1, 2), (0.2, 2, 1), (0.4, 2, 2))
    ]
    assert bold(rows, "defense.sigma2", "defense.steps") == [None, None, None, 0.4]


def test_seeds_of_training_and_of_the_run_are_not_mixed(row: MakeRow) -> None:
    def made(seed: int, shift: float) -> list[Row]:
        own: dict[str, Any] = {"config": {"victim_seed": seed}}
        return [row(0.2 + shift, **own), row(0.1 + shift, defense="jpeg", **own)]

    rows = made(0, 0.0) + made(1, 0.5)
    assert bold(rows, "victim_seed", "defense") == [0.2, None, 0.7, None]
    assert bold(rows, "defense", "victim_seed") == [0.2, 0.7, None, None]
    rows = [
        row(0.1 * seed + drop, defense=name, seed=seed)
        for seed in (1, 2)
        for name, drop in (("nrp", 0.2), ("sr", 0))
    ]
    assert [value for value in bold(rows, "defense") if value] == [0.1 * 1 + 0.2, 0.1 * 2 + 0.2]


def test_no_seed_of_a_trained_defense_is_the_best(row: MakeRow) -> None:
    rows = [row(0.1 + 0.1 * seed, defense="nrp", filters={"seed": seed}) for seed in (0, 1)]
    assert bold([*rows, row(0.5)], "defense") == [None, None, None]
    assert bold([rows[0], row(0.5)], "defense") == [None, 0.5]
    assert bold([*rows, row(0.5)], "defense", over=["defense_seed"]) == [None, 0.5]
