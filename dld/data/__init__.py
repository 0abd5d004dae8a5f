"""Annotations, data sets, augmentation and the mapper that feeds the models."""
