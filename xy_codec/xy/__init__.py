"""XY-Tokenizer, one file for each part of the paper."""
