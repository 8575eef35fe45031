"""Figures of a sweep, drawn from its rows; each module but `base` and `draw` is a kind."""
