"""Sentences of captions: what lines, bands and the first point are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from medrobust.metric.definition import heading_of
from medrobust.report.figure.core.series import Line


def notes(
    lines: Mapping[str, Line], over: Sequence[str], metric: str, empty: Sequence[str]
) -> Iterator[str]:
    """Yield the sentences of a caption.

    Args:
        lines: label -> line that is drawn.
        over: seeds that lines are means over, names from `OVER`.
        metric: metric of the lines.
        empty: labels of lines without a finished point.
    """
    points = [one for line in lines.values() for one in line.points]
    if over:
        yield seeds_said(over, {one.seeds for one in points})
    elif any(one.low is not None for one in points):
        mean = any(len(line.attacks) > 1 for line in lines.values())
        yield f"Bands: 95 % intervals{', for a mean the mean ends of its parts' if mean else ''}."
    if any(line.clean for line in lines.values()):
        yield f"ε = 0: clean {heading_of(metric)}."
    also = dict.fromkeys(key for line in lines.values() for key in line.also)
    if also:
        yield f"Along a line, {', '.join(also)} differs as well."
    if empty:
        yield f"Not drawn, as no point is finished: {', '.join(empty)}."


def seeds_said(over: Sequence[str], counts: Iterable[int]) -> str:
    """Return the sentence of a caption that says what lines and bands are means over.

    Args:
        over: names from `OVER`.
        counts: numbers of seeds of the lines.
    """
    numbers = set(counts)
    low, high = min(numbers), max(numbers)
    said = str(low) if low == high else f"{low} to {high}"
    kinds = " and ".join(name.replace("_", " ") for name in over)
    return f"Lines and bands: mean ± standard deviation over {said} seeds ({kinds})."
