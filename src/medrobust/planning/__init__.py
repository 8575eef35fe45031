"""Plan of a sweep: its cells, its time on this machine and the precision of its numbers."""
