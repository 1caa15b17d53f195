"""Metrics of a generator, one per file. The networks that look at images are passed in, so none is named here."""
