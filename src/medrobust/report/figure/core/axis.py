"""The axis of a setting: its title, unit and ticks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust.report.figure.core.base import FigureError
from medrobust.report.figure.core.lines import thinned
from medrobust.report.table.label import flatten, readable
from medrobust.result.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NORMS = {"l2": "L2 norm", "l1": "L1 norm", "l0": "L0 norm"}
_BESIDE = 0.65  # inches that the labels of the other axis take


@dataclass(frozen=True)
class Axis:
    """The axis of a setting.

    Attributes:
        title: title with the unit.
        factor: factor from the setting's value to the value on the axis.
    """

    title: str
    factor: float = 1.0

    def text(self, value: float) -> str:
        """Return the label of a tick at a value of the setting."""
        return readable(value) if self.factor == 1.0 else f"{self.factor * value:.4g}"


def axis_of(key: str, label: str, rows: Iterable[Row]) -> Axis:
    """Return the axis of a setting; a budget in L∞ is shown in grey levels, 1/255.

    Args:
        key: setting such as `attack.eps`.
        label: name of the setting; empty for its own.
        rows: rows with this setting.

    Raises:
        FigureError: budgets are in several norms, which no axis has in common.
    """
    if key != "attack.eps":
        return Axis(label or key.rpartition(".")[2].replace("_", " "))
    norms = list(dict.fromkeys(flatten(row.attack_variant).get("norm") for row in rows))
    if len(norms) > 1:
        raise FigureError(
            f"the attacks' eps are budgets in several norms {norms}, expected one; choose attacks "
            "of one norm by `over`, or set `where: {attack.norm: linf}`"
        )
    norm = norms[0] if norms else None
    name = label or "perturbation budget ε"
    if norm == "linf":
        return Axis(f"{name} (× 1/255)", 255.0)
    return Axis(name if norm is None else f"{name} ({_NORMS.get(str(norm), norm)})")


def show_scale(axes: "Axes", axis: Axis, values: Sequence[float]) -> None:
    """Set the axis's title, and ticks at the values of the setting as far as their labels fit."""
    known = sorted(set(values))
    places, labels = [axis.factor * value for value in known], [axis.text(value) for value in known]
    figure = axes.get_figure(root=True)
    assert figure is not None
    kept = thinned(places, labels, figure.get_size_inches()[0] - _BESIDE)
    axes.set_xticks([places[at] for at in kept], [labels[at] for at in kept])
    axes.set_xlabel(axis.title)
