"""Training of victims with Lightning."""
