"""Sweeper for large matrices."""
