"""Codes back for training: needs pyarrow and fsspec alone, torch for its wrapper."""
