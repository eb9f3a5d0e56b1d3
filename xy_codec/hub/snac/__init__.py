"""SNAC as the package `snac` has it: three rates of codes, laid out as seven rows."""
