"""Training of victims and defenses with Lightning."""
