"""Digests of the code that computed a number, independent of file locations."""
