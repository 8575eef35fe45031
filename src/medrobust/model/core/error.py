"""Errors of victims' checkpoints."""

from medrobust.checkpoint import CheckpointError


class VictimError(CheckpointError):
    """Raised when a victim's checkpoint is damaged, foreign, or not the expected one."""
