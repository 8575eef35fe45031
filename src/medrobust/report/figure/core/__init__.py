"""Base classes and helpers of figures."""
