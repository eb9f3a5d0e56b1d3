"""Weights that ship with the audit, their licences, and the scripts that made the files."""
