"""Confusion matrices, coloured by the share of the true class."""

from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.report.render.colour import heat


@dataclass(frozen=True)
class Count:
    """One field of a confusion matrix.

    Attributes:
        count: number of images.
        share: share of the images of the true class; 0 if the class has none.
        ground: background colour of the share.
        ink: text colour, black or white.
    """

    count: int
    share: float
    ground: str
    ink: str


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        title: heading, such as `After: attacked images`.
        lines: name of each true class and its counts by predicted class.
    """

    title: str
    lines: tuple[tuple[str, tuple[Count, ...]], ...]


def confusion(
    title: str, counts: Sequence[Sequence[int]] | None, classes: Sequence[str]
) -> Confusion | None:
    """Return the matrix, or None if the row has none.

    Args:
        title: heading of the matrix.
        counts: counts by true class and predicted class.
        classes: class names; absent ones are numbered.
    """
    if counts is None:
        return None
    names = [*classes, *(f"class {number}" for number in range(len(classes), len(counts)))]
    return Confusion(
        title,
        tuple((name, tuple(_line(line))) for name, line in zip(names, counts, strict=False)),
    )


def _line(counts: Sequence[int]) -> list[Count]:
    total = sum(counts)
    shares = [count / total if total else 0.0 for count in counts]
    # Round shares to two digits: thousands of fields then need few colours.
    return [
        Count(count, share, *heat(round(share, 2)))
        for count, share in zip(counts, shares, strict=True)
    ]
