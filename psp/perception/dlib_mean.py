"""The mean descriptor of dlib's network.

If it is subtracted, the cosine of the descriptors of two different people is about 0 instead of 0.8. It is the average
of the means over two sets of FFHQ-aligned portraits, so that both sets have the same weight: 160 AI-generated portraits
at 256 px (faker-js, assets-person-portrait, CC0) and 700 official portraits of the United States Congress at 128 px
(public domain). The following lines compute it again from two folders of aligned images:

    import torch
    from psp.perception.dlib_resnet import load_dlib
    from stylegan2.runtime.images import find_images, read_image, to_tensor

    network = load_dlib()
    def mean(folder):
        return torch.cat([network.embed(to_tensor(read_image(path))[None]) for path in find_images(folder)]).mean(0)
    print(torch.stack([mean("portraits256"), mean("congress")]).mean(0))

On other portraits, which show 86 people twice (Face Research Lab London Set, 128 px), the cosine after subtraction of
this mean is 0.93 +- 0.04 for the same person and 0.13 +- 0.19 for two people. The area under the ROC curve is 0.99999.
"""

# fmt: off
MEAN = (
    -0.1206, 0.0856, 0.0418, -0.0355, -0.0913, -0.0389, -0.0088, -0.1121, 0.1462, -0.0600, 0.2009, -0.0355,
    -0.2280, -0.0564, -0.0148, 0.1299, -0.1580, -0.1218, -0.1174, -0.0907, 0.0007, 0.0286, 0.0154, 0.0371,
    -0.1248, -0.2976, -0.0737, -0.1080, 0.0479, -0.0819, 0.0050, 0.0599, -0.1906, -0.0667, 0.0302, 0.0759,
    -0.0328, -0.0445, 0.1915, 0.0136, -0.1728, 0.0020, 0.0523, 0.2584, 0.2229, 0.0135, -0.0050, -0.0720,
    0.1163, -0.2598, 0.0346, 0.1432, 0.1044, 0.0607, 0.0749, -0.1436, 0.0103, 0.1121, -0.1783, 0.0493,
    0.0590, -0.1074, -0.0482, -0.0485, 0.1908, 0.0945, -0.0971, -0.1202, 0.1752, -0.1503, -0.0386, 0.0768,
    -0.0952, -0.1572, -0.2802, 0.0379, 0.3900, 0.1197, -0.1787, 0.0172, -0.0990, -0.0200, 0.0388, 0.0455,
    -0.0662, -0.0473, -0.0947, 0.0184, 0.1974, -0.0330, -0.0021, 0.2127, -0.0042, -0.0003, 0.0321, 0.0406,
    -0.1101, -0.0307, -0.1172, -0.0385, 0.0495, -0.0946, 0.0129, 0.1005, -0.1866, 0.1379, -0.0047, -0.0257,
    -0.0016, -0.0225, -0.0614, -0.0191, 0.1718, -0.2371, 0.2155, 0.1714, -0.0143, 0.1310, 0.0483, 0.0652,
    -0.0300, -0.0141, -0.1295, -0.0882, 0.0335, -0.0255, 0.0198, 0.0269,
)
# fmt: on
