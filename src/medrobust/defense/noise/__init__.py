"""Noise for the copies of a vote."""
