"""Base classes and helpers of datasets."""
