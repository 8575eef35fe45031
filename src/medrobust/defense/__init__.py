"""Defenses: purifiers, detectors and votes around a victim."""
