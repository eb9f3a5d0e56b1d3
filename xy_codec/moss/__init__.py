"""MOSS-Audio-Tokenizer v1 as plain modules over padded batches, one file for each part."""
