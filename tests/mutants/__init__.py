"""Seeded mistakes that the default tests must find."""
