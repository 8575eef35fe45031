"""Training of victims."""
