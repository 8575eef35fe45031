"""Base classes and helpers of defenses."""
