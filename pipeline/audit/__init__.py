"""The audit: sampled clips against their originals, all tokens checked, verdicts, a report."""
