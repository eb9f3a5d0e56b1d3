"""The engine on Ray: cluster, workers, the actor of a worker, and job submission."""
