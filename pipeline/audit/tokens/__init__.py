"""Every row of a part checked without decoding it."""
