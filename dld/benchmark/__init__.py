"""Measuring speed and memory on this machine; `dld benchmark` runs the parts."""
