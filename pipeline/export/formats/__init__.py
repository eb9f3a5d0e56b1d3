"""One file a format; `catalogue.py`, a floor above, lists them."""
