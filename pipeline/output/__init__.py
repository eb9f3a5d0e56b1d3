"""What a run writes: schema, parts, rejects, manifests, events, identity and `run.json`."""
