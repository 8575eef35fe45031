"""Noise that votes draw."""
