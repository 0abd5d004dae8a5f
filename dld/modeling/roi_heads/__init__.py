"""Region heads: boxes, masks and the text branch."""
