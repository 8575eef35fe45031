"""The figure of perturbations: a line for each attack, numbers against NumPy."""

from pathlib import Path

import numpy as np
import pytest

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import parse
from medrobust.result.iterates import Iterates
from medrobust.result.row import Row

EPS = 0.02


def rows() -> tuple[Row, ...]:
    return tuple(
        Row(
            id=name,
            status="done",
            cell={"data": "d", "model": "m", "attack": f"smia/{name}", "defense": "none"},
            attack_variant={},
            defense_variant={},
            n=2,
        )
        for name in ("dev", "smia")
    )


def written(folder: Path, *, channels: int = 3, at: tuple[int, ...] = (1, 4, 9)) -> Source:
    rng = np.random.default_rng(0)
    found = rows()
    for row in found:
        Iterates(
            ids=("x/0", "x/1"),
            wanted=2,
            at=at,
            clean=rng.random((2, 5, 6, channels), dtype=np.float32),
            perturbations=rng.uniform(-EPS, EPS, (len(at), 2, 5, 6, channels)).astype(np.float32),
            eps=EPS,
        ).write(folder / f"{row.id}.iterates.npz")
    return Source(found, {row.id: folder / f"{row.id}.png" for row in found})


@pytest.mark.parametrize("channels", [1, 3])
def test_variances_and_cosines_stand_below(tmp_path: Path, channels: int) -> None:
    source = written(tmp_path, channels=channels)
    (figure,) = parse({"kind": "perturbations", "name": "fig2"})
    drawings = figure.draw(source)
    assert [drawing.name for drawing in drawings] == ["fig2_0", "fig2_1"]
    axes = drawings[1].canvas.axes
    assert len(axes) == 2 * 4
    assert [one.get_title() for one in axes[:4]] == [
        "image",
        *(f"iteration {number}" for number in (1, 4, 9)),
    ]
    assert [axes[0].get_ylabel(), axes[4].get_ylabel()] == ["smia/dev", "smia/smia"]
    found = Iterates.read(source.beside(source.rows[1], "iterates.npz"))
    assert found is not None
    scaled = found.perturbations[:, 1].reshape(3, -1).astype(float) / EPS
    for column, one in enumerate(axes[5:]):
        first, *more = one.get_xlabel().split("\n")
        assert first == f"variance {np.var(scaled[column]):.3f}"
        if column:
            a, b = scaled[column - 1], scaled[column]
            wanted = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert more == [f"cosine {wanted:.3f}"]
        else:
            assert more == []
    assert "ε = 5.1/255" in drawings[0].caption


def test_nothing_recorded_says_what_to_do(tmp_path: Path) -> None:
    (figure,) = parse({"kind": "perturbations"})
    source = Source(rows(), {row.id: tmp_path / f"{row.id}.png" for row in rows()})
    with pytest.raises(FigureError, match=r"iterates=\{at"):
        figure.draw(source)
    (tmp_path / "dev.iterates.npz").write_bytes(b"no archive")
    with pytest.raises(FigureError, match="damaged"):
        figure.draw(source)
