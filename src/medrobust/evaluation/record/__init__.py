"""What is kept of a cell besides its numbers."""
