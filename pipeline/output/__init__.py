"""What comes out: schema, parts, rejects, manifests, identity and the record of a run."""
