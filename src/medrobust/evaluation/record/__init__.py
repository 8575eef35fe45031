"""Records of a cell besides its metrics: pictures, maps, iterates."""
