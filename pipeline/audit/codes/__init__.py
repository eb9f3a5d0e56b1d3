"""What is checked of the codes of a shard, with and without its audio."""
