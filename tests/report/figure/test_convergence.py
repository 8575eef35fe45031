"""The figure of losses step by step."""

from pathlib import Path

import numpy as np
import pytest

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import parse
from medrobust.result.row import Row
from tests.support.convergence import SEEN


def written(folder: Path, names: tuple[str, ...] = ("pgd", "square")) -> Source:
    found = tuple(
        Row(
            id=name,
            status="done",
            cell={"data": "d", "model": "m", "attack": name, "defense": "none"},
            attack_variant={},
            defense_variant={},
            n=2,
        )
        for name in names
    )
    for row in found:
        SEEN.write(folder / f"{row.id}.convergence.npz")
    return Source(found, {row.id: folder / f"{row.id}.png" for row in found})


def test_a_column_per_attack_with_losses_and_success(tmp_path: Path) -> None:
    (figure,) = parse({"kind": "convergence"})
    (drawing,) = figure.draw(written(tmp_path))
    above, below = drawing.canvas.axes[:2], drawing.canvas.axes[2:]
    assert [axes.get_title() for axes in above] == ["PGD · undefended", "Square · undefended"]
    first, dot, second = above[0].get_lines()
    np.testing.assert_array_equal(first.get_ydata(), [1, 1, np.nan, -3, -2])
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (4, -2)  # type: ignore[index]
    np.testing.assert_array_equal(second.get_ydata(), [2, 3])
    (steps,) = below[0].get_lines()
    np.testing.assert_array_equal(steps.get_xdata(), [0, 4, 4])
    np.testing.assert_array_equal(steps.get_ydata(), [0, 50, 50])


def test_without_a_record_it_says_how_to_get_one(tmp_path: Path) -> None:
    (figure,) = parse({"kind": "convergence"})
    source = written(tmp_path, ("pgd",))
    (tmp_path / "pgd.convergence.npz").unlink()
    with pytest.raises(FigureError, match=r"convergence=\{images: 4\}"):
        figure.draw(source)
    written(tmp_path, ("pgd",))
    path = tmp_path / "pgd.convergence.npz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FigureError, match="damaged"):
        figure.draw(source)
