"""Reconstruction of a victim from the architecture in its checkpoint."""

from collections.abc import Mapping
from typing import Any

from medrobust.model.core.builder import check_architecture, find
from medrobust.model.core.victim import Victim


def rebuild(architecture: Mapping[str, Any], source: str) -> Victim:
    """Build the network of an architecture with random weights, without any download.

    Args:
        architecture: architecture of a victim.
        source: its origin, for the error.

    Raises:
        VictimError: see `check_architecture`.
    """
    arguments = check_architecture(architecture, source)
    victim: Victim = find(architecture, source)(**arguments)
    return victim
