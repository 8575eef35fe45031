"""Parts that losses share."""
