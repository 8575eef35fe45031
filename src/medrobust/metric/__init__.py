"""Metrics: torchmetrics' cores, the intervals around them, and what belongs to this field."""
