"""Reading that makes sense of a page: words into lines, lines into blocks, blocks into an order. NumPy alone."""
