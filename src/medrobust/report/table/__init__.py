"""Rows pivoted into a table."""
