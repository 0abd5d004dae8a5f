"""Trained spotters as ONNX graphs, and reading with them."""
