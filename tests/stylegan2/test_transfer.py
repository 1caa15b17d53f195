"""Starting a training from networks of other sizes: what fits is kept, and what is taken, left and new is said."""

import pytest
import torch

from stylegan2 import transfer
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import UserError

SMALL = {"channel_base": 256, "channel_max": 16}
ARCHITECTURES = ("pggan", "stylegan", "stylegan2")


def generator(arch="stylegan2", resolution=16, channels=3, num_classes=0):
    sizes = {**SMALL, "z_dim": 8, "w_dim": 8, "mapping_layers": 2, "num_classes": num_classes}
    return GENERATORS.build_from(arch, {"img_resolution": resolution, "img_channels": channels, **sizes})


def discriminator(arch="stylegan2", resolution=16, channels=3, num_classes=0):
    sizes = {"img_resolution": resolution, "img_channels": channels, **SMALL, "num_classes": num_classes}
    return DISCRIMINATORS.build_from(arch, sizes)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_equal_networks_are_taken_whole(arch):
    for build in (generator, discriminator):
        stored = build(arch).state_dict()
        found = transfer.fit(build(arch), stored)
        assert (found.new, found.unused, found.partly_loaded) == ([], [], [])
        assert all(torch.equal(found.tensors[name], stored[name]) for name in stored)


@pytest.mark.parametrize(("before", "after"), [(16, 32), (32, 16), (16, 64)])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_another_resolution_keeps_the_blocks_of_both(arch, before, after):
    G, other = generator(arch, before), generator(arch, after)
    found = transfer.fit(other, G.state_dict())
    other.load_state_dict(found.tensors)
    name = next(name for name in G.state_dict() if name.startswith("synthesis.") and name.endswith("weight"))
    assert torch.equal(other.state_dict()[name], G.state_dict()[name])
    assert other(torch.randn(1, 8)).shape == (1, 3, after, after)
    D, other = discriminator(arch, before), discriminator(arch, after)
    other.load_state_dict(transfer.fit(other, D.state_dict()).tensors)
    for k in range(1, min(len(D.blocks), len(other.blocks)) + 1):
        assert torch.equal(other.blocks[-k].conv0.weight, D.blocks[-k].conv0.weight)  # of the same resolution
    assert torch.equal(other.out.weight, D.out.weight)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 4])
def test_other_channels_are_new_only_beside_the_image(arch, channels):
    found = transfer.fit(generator(arch, channels=channels), generator(arch).state_dict())
    assert found.new
    assert all("to_rgb" in name for name in found.new)
    found = transfer.fit(discriminator(arch, channels=channels), discriminator(arch).state_dict())
    assert found.new
    assert all(name.startswith("from_rgbs") for name in found.new)


@pytest.mark.parametrize("arch", ["stylegan", "stylegan2"])
@pytest.mark.parametrize(("before", "after"), [(0, 3), (3, 0)])
def test_a_mapping_with_labels_begins_as_the_one_without(arch, before, after):
    G, other = generator(arch, num_classes=before), generator(arch, num_classes=after)
    if before:  # whose embedding says nothing
        with torch.no_grad():
            G.mapping.layers[0].weight[:, 8:] = 0
    other.load_state_dict(transfer.fit(other, G.state_dict()).tensors)
    z, labels = torch.randn(3, 8), torch.arange(3)
    own, others = (G(z, labels=labels if g else None) for g, G in ((before, G), (after, other)))
    torch.testing.assert_close(others, own)


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("before", "after"), [(2, 5), (5, 2)])
def test_classes_in_common_keep_their_embedding(arch, before, after):
    G, other = generator(arch, num_classes=before), generator(arch, num_classes=after)
    other.load_state_dict(transfer.fit(other, G.state_dict()).tensors)
    z, labels = torch.randn(2, 8), torch.arange(2)
    both = [network.mapping.embedding(labels) for network in (G, other)]
    direction = torch.nn.functional.cosine_similarity(*both)  # He's constant is of the number of classes
    torch.testing.assert_close(direction, torch.ones(2), atol=1e-4, rtol=0)
    assert other(z, labels=labels).isfinite().all()


def networks(**sizes):
    return {"G": generator(**sizes), "D": discriminator(**sizes), "G_ema": generator(**sizes)}


def stored(names=("G", "D", "G_ema"), **sizes):
    return {
        f"{n}.{key}": t
        for n, network in networks(**sizes).items()
        if n in names
        for key, t in network.state_dict().items()
    }


def test_what_is_taken_left_and_new_is_one_line_each(capsys):
    transfer.start(networks(num_classes=2, channels=1), stored(), "old.pt")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "loaded from old.pt",
        "loaded for the shared classes",
        "not used",
        "new",
    ]
    assert "tensors of G" in lines[0]
    assert "G.mapping.layers.0" in lines[1]
    assert "D.out.weight" in lines[2]
    assert "D.projection.layers.0" in lines[3]
    transfer.start(networks(), stored(), "old.pt")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_missing_discriminator_is_said(capsys):
    initial = transfer.start(networks(), stored(("G", "G_ema")), "old.pt")
    assert "new: all of D, because the file contains none" in capsys.readouterr().out
    assert any(name.startswith("D.") for name in initial)


def test_layers_to_freeze_must_be_the_old_ones():
    with pytest.raises(UserError, match="freeze_d would freeze layers that are new"):
        transfer.start(networks(channels=1), stored(), "old.pt", freeze_d=1)
    transfer.start(networks(num_classes=2), stored(), "old.pt", freeze_d=1)
