"""Backbones with a path that computes the finest pyramid level only."""
