"""The page of an audit, its sections, plots, sounds and words."""
