"""Clips into packs in which each keeps bits of its own: windows, segments, geometry, layout."""
