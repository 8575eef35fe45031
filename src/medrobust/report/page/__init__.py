"""Self-contained HTML page of a sweep, made from its rows."""
