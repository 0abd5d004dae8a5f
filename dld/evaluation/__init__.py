"""Scoring: protocols, matching, lexicons and the files of the official benchmarks."""
