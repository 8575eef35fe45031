"""Training objectives: the losses that a victim is trained to minimise."""
