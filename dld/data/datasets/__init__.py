"""Readers of the official files of public data sets, and their registration in detectron2's catalogs."""
