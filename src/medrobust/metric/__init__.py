"""Metric."""
