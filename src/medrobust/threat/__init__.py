"""Threats: what the attacker knows of victim and defense."""
