"""Rows and the files next to them: storage, checksums and locks."""
