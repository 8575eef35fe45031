"""Figures of a sweep, drawn from its rows; each module of this folder is one kind."""
