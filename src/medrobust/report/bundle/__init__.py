"""Bundles: the rows of a sweep as one folder that can be published, rebuilt and verified."""
