"""Margins of the numeric claims of the tests, under every processor setting.

`make test-isa` runs this package; `docs/determinism.md` says what it is for.
"""
