"""Jobs of a sweep in other processes: workers of this machine, or a cluster's."""
