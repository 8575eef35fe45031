"""Threat."""
