"""Training over any storage, on one device or by the workers of a Ray cluster."""
