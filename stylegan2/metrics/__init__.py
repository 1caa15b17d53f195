"""How good a generator is: one file a measure. Networks that see images are handed in, so none is named here."""
