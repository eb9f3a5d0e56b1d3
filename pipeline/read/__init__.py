"""Reads codes back for training by pyarrow and fsspec alone; only `torch_dataset` needs torch."""
