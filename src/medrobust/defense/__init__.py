"""Defenses: what stands in front of, around or behind the victim."""
