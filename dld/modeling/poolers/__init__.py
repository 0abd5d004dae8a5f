"""Crops of feature maps."""
