"""Defense."""
