"""What several tests share: servers, runs, shards, schemas; no tests."""
