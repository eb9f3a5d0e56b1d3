"""Which clips an audit looks at, and where their rows and originals are read."""
