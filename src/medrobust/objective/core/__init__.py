"""What training objectives share."""
