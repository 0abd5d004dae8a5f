"""The dynamic resolution selector, resizing and the cost of a scale."""
