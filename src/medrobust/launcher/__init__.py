"""Run jobs of a sweep in other processes, on this machine or a cluster."""
