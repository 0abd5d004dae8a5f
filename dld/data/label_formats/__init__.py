"""Label files of annotation tools and of other readers of text: read into our annotations, and written from them."""
