"""Denoisers for the copies of a vote."""
