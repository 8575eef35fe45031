"""Cache of tensors, with commands to list, verify and prune it."""
