"""Measuring this machine: codec, host path, storage, end to end, and what a corpus costs on it."""
