"""Base classes and helpers of attacks."""
