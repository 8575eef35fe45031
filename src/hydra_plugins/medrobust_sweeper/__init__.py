"""A sweeper for large matrices."""
