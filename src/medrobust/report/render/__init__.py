"""A table as text, files and pictures."""
