"""The ASR probe: a small recogniser on frozen codes, whose errors say how much they mean."""
