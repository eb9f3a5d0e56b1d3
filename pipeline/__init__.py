"""Shards in, codes out; codes in, findings out."""
