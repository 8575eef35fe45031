"""Training objectives: what a victim is trained to minimise."""
