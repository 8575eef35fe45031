"""The picture of the imports between packages: `python -m tests.docs.imports_picture` draws it."""

from pathlib import Path

from tests.test_imports import EDGES, ORDER, group

PICTURE = Path(__file__).parents[2] / "docs" / "assets" / "imports.svg"
CELL = 26
LEFT, TOP = 110, 100
MIDDLE = 5
"""Pixels from a baseline of small text to the middle of its letters."""


def edges() -> set[tuple[str, str]]:
    """Pairs (importer, imported) of different packages."""
    pairs = {(group(name), group(other)) for name, others in EDGES.items() for other in others}
    return {(one, other) for one, other in pairs if one != other and {one, other} <= set(ORDER)}


def draw() -> str:
    """A matrix: lines import, columns are imported, both from the top of the order down."""
    size = CELL * len(ORDER)
    box = f"0 0 {LEFT + size + 10} {TOP + size + 10}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" '
        'font-size="13">',
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for place, name in enumerate(ORDER):
        at = CELL * place
        y, x = TOP + at + CELL / 2 + MIDDLE, LEFT + at + CELL / 2
        parts += [
            f'<text x="{LEFT - 8}" y="{y:g}" text-anchor="end">{name}</text>',
            f'<text transform="translate({x + MIDDLE:g} {TOP - 8}) rotate(-60)">{name}</text>',
            f'<rect x="{LEFT + at}" y="{TOP + at}" width="{CELL}" height="{CELL}" fill="#ddd"/>',
            f'<path d="M{LEFT} {TOP + at}h{size}M{LEFT + at} {TOP}v{size}" stroke="#ccc"/>',
        ]
    for one, other in sorted(edges()):
        x = LEFT + CELL * (ORDER.index(other) + 0.5)
        y = TOP + CELL * (ORDER.index(one) + 0.5)
        parts.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="6" fill="#3949ab">'
            f"<title>{one} imports {other}</title></circle>"
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
