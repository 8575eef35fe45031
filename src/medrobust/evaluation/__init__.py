"""Evaluation: adversarial sets, deployed answers, and one cell from end to end."""
