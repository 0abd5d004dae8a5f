"""Layers that stand in for others."""
