"""Digests of code: what a number was computed by, wherever its files lie."""
