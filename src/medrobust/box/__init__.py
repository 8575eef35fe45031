"""Boxes of detectors: anchors, matching to true boxes, the loss, and the answers that are kept."""
