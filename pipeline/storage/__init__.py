"""Any bucket or disk: the client, locations, options, retries, and streams of ranges."""
