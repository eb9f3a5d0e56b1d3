"""What goes in: shards listed and sampled, tars read, clips paired, filtered and decoded."""
