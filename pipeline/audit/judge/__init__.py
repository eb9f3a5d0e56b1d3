"""From findings to verdicts: tests, thresholds, baselines, causes."""
