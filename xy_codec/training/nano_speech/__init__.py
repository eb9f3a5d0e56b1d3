"""The speech that trains `xy-nano`: fetched from packages, synthesized, written as shards."""
