"""Any bucket or disk: `client` reads and writes, `location` splits URLs, `options` holds secrets,
`retries` tries again, `streams` gives a shard's bytes in order."""
