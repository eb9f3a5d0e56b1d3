"""One process that owns one GPU: it reads, decodes, encodes, accounts for and writes shards."""
