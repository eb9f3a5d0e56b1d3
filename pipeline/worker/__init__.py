"""One process that owns one GPU: reads, decodes, encodes, accounts for and writes shards."""
