"""Confusion matrices, coloured by the share of the true class."""

from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.report.render.colour import heat


@dataclass(frozen=True)
class Count:
    """One field of a confusion matrix.

    Attributes:
        count: images.
        share: of the images of the true class; 0 when there are none.
        ground: colour of the share.
        ink: black or white.
    """

    count: int
    share: float
    ground: str
    ink: str


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        title: what was answered.
        lines: by true class: its name, and the counts by predicted class.
    """

    title: str
    lines: tuple[tuple[str, tuple[Count, ...]], ...]


def confusion(
    title: str, counts: Sequence[Sequence[int]] | None, classes: Sequence[str]
) -> Confusion | None:
    """The matrix, or None when the row has none.

    Args:
        title: what was answered.
        counts: true class × predicted class.
        classes: names; numbers stand for those that are absent.
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
    # Shares to two digits: a page holds thousands of fields and few colours.
    return [
        Count(count, share, *heat(round(share, 2)))
        for count, share in zip(counts, shares, strict=True)
    ]
