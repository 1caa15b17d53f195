"""A small face renderer in NumPy: parametric head, z-buffer, deferred shading. `datasets.synthetic` is its door."""
