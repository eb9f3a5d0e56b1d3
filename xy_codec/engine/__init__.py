"""Clips into packs whose codes are their own: windows, geometry, layouts, precision."""
