"""Many workers: the run, its engines, scheduling, health, progress and resuming."""
