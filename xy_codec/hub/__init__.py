"""Codecs of other packages, one clip at a time: eight of transformers, SNAC and SpeechTokenizer."""
