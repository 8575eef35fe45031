"""Stand-ins."""

from medrobust.defense.core.base import Defense, with_identity


def stand_ins(defense: Defense) -> dict[str, Defense]:
    """Return the named copies."""
    other = with_identity(defense)
    return {"default": defense} | ({} if other is defense else {"identity": other})
