"""Training of the defenses that learn."""
