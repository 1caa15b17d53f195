"""A small face renderer in NumPy: a parametric head, a z-buffer and deferred shading. `datasets.synthetic` is its door."""
