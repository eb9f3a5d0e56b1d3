"""Benchmarks of this machine: codec, host path, storage, end to end, and the cost of a corpus."""
