"""Denoisers that a vote looks through."""
