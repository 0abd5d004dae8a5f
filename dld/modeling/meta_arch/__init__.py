"""Whole models, as detectron2 builds them from a configuration."""
