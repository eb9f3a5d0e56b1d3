"""Stored codes against fresh ones from the same audio."""
