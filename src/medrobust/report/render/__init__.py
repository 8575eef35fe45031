"""Renderers of a table as text, files and pictures."""
