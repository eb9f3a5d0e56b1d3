"""SecoustiCodec: plain modules, one file for each part, and their packed form."""
