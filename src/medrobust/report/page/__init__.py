"""A sweep as one self-contained HTML page, made from its rows."""
