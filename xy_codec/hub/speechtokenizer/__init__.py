"""SpeechTokenizer as the package `speechtokenizer` has it."""
