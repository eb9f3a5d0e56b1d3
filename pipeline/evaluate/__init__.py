"""Codecs side by side on the same speech: how they sound, and how much meaning their codes hold."""
