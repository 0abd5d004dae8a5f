"""MANGO: words without crops, read by attention maps of single characters that the cells of a grid give."""
