"""What goes in: shards are listed and sampled; tars are read; clips paired, filtered, decoded."""
