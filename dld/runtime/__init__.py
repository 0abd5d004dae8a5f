"""Exported spotters, run by ONNX Runtime without torch."""
