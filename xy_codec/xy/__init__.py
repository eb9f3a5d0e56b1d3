"""XY-Tokenizer as plain modules over padded batches, one file for each part of the paper."""
