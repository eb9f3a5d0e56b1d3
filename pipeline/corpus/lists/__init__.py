"""Lists of audio files, made of folders, manifests and what other tools lay out."""
