"""Blocks that several codecs share, as plain modules."""
