"""A victim again from what its checkpoint says of its network."""

from collections.abc import Mapping
from typing import Any

from medrobust.model.core.builder import check_architecture, find
from medrobust.model.core.victim import Victim


def rebuild(architecture: Mapping[str, Any], source: str) -> Victim:
    """Build the network of an architecture, with random weights; asks no network for any.

    Args:
        architecture: of a victim.
        source: where it comes from, for the error.

    Raises:
        VictimError: see `check_architecture`.
    """
    arguments = check_architecture(architecture, source)
    victim: Victim = find(architecture, source)(**arguments)
    return victim
