"""Many workers: a run, its engines (inline, Ray), scheduling, hangs, progress and resuming."""
