"""Training of the codec: the paper's two stages, full size and nano."""
