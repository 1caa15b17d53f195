"""All that measures encoders and generators.

encoders.py     encoders beside baselines on held-out pairs; methods.py are the rows of the table, metrics.py what is
                measured of each output, per_image.py the values on disk, tables.py the means
generator.py    metrics of a generator by name; features.py are the networks that they see through, real_images.py the
                statistics of the training images
similarity.py   whether two images show the same person
"""
