"""Identity of rows: settings and provenance."""
