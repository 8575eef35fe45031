"""Hydra finds launchers in packages of this name only; `medrobust.launcher` does the work."""
