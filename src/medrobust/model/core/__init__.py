"""What networks share, and the victim that they become."""
