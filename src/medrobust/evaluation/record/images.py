"""Record what a cell decided of each image, next to its row."""

from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result
from medrobust.result.per_image import PerImage


def image_record(cell: Cell, result: Result) -> PerImage:
    """Return each image's group, what the metrics record of it, and what the attack counted.

    Args:
        cell: clean images and attack.
        result: metrics and adversarial set of the cell.
    """
    groups = cell.clean.groups
    columns = {} if groups is None else {"group": groups.array}
    columns |= result.measured.per_image or {}
    attacked = result.attacked
    for name, value in (("queries", attacked.queries), ("member", attacked.member)):
        if value is not None:
            columns[name] = value.long().numpy()
    return PerImage(cell.clean.ids, columns, attacked.members, cell.defense.random)
