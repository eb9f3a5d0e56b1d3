"""Looks at a run or a machine and changes nothing but what `verify --clean` removes."""
