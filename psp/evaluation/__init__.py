"""Measure encoders and generators.

encoders.py     compares encoders and baselines on held-out pairs; methods.py has the rows of the table, metrics.py the
                metrics of each output, per_image.py the values on disk, tables.py the means
generator.py    metrics of a generator by name; features.py has their feature networks, real_images.py the statistics
                of the training images
similarity.py   whether two images show the same person
"""
