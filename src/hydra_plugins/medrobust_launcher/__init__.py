"""Entry point for Hydra's plugin search; `medrobust.launcher` has the implementations."""
