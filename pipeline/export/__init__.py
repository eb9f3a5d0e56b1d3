"""The codes of a run in the files that trainers read: one file a format in `formats/`."""
