"""Readings as the documents that other programs know: plain text, tables, hOCR, ALTO, searchable PDF."""
