"""Geometry and results: polygons, words, what a model or a file says about an image."""
