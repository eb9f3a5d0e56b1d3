"""Read-only commands over an output or a machine; only `verify --clean` removes files."""
