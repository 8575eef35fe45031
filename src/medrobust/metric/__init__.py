"""Metrics: torchmetrics' cores, their intervals, and the metrics of adversarial robustness."""
