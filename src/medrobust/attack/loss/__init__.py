"""What an attack maximises."""
