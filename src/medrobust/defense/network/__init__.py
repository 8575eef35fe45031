"""Networks inside learned defenses."""
