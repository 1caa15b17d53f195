"""Measure encoders and generators.

encoders.py     compares encoders and baselines on held-out pairs; methods.py has the rows of the table, metrics.py the
                metrics of each output, per_image.py the values on disk and their means, shared_jobs.py the pairs and
                how several processes share them
generator.py    computes metrics of a generator by name; features.py has their feature networks and the statistics of
                the training images, attributes.py their classifier of attributes
"""
