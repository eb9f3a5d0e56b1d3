"""Speech for `xy-nano`: fetched from packages, synthesized, and written as shards."""
