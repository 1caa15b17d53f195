"""A small face renderer in NumPy: parametric head, z-buffer, deferred shading. Use it through `datasets.synthetic`."""
