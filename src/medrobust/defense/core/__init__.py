"""What defenses share."""
