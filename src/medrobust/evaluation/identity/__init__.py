"""What a row is told apart by."""
