"""Criteria: when an image counts as fooled."""
