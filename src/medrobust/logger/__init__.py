"""Loggers that Lightning and the evaluation share."""
