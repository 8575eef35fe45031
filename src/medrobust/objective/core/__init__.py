"""Base classes and helpers of training objectives."""
