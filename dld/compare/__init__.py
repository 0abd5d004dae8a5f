"""Our spotters against what a user would install instead."""
