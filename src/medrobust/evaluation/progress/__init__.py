"""Progress of cells and sweeps."""
