"""Networks, the victim around them, and its checkpoint."""
