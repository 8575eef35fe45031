"""How far a sweep is."""
