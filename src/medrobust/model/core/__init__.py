"""The victim, and helpers of networks."""
