"""Searched widths: which channels of a spotter stay, by indicators that are learned beside its weights."""
