"""XY-Tokenizer: a neural speech codec at 12.5 frames a second, 8 codebooks of 1024, 1 kbit/s."""
