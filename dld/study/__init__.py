"""The study as one page for people."""
