"""Errors of victims' checkpoints."""

from medrobust.checkpoint import CheckpointError


class VictimError(CheckpointError):
    """A victim's checkpoint is damaged, foreign, or not the one that was asked for."""
