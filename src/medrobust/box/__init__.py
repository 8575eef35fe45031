"""Boxes: where anchors lie, which true box is whose, the loss, and the answers that are kept."""
