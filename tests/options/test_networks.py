"""Flags of the networks, and the published settings that --arch and --preset stand for."""

import importlib
import re
import sys
from dataclasses import dataclass, field, fields

import pytest
import tyro

from options import registered
from options.flags import with_flags
from options.networks import architectures, chosen_settings, network_settings, preset_names, training_presets
from options.parse import parse
from options.registered import read_parts
from options.source import modules_with, read_source
from scripts.train_stylegan2 import TrainStyleGAN2
from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.registry import built_as

ALL = [(arch, name) for arch in architectures() for name in training_presets(arch)]


def options(*args):
    return parse(TrainStyleGAN2, chosen_settings, args=[str(arg) for arg in args])


@pytest.mark.parametrize(("arch", "name"), ALL)
def test_every_preset_is_valid(arch, name):
    o = options("--arch", arch, "--preset", name)
    assert (o.network.arch, o.preset) == (arch, name)


def test_every_architecture_can_be_built_and_is_in_the_table():
    assert set(architectures()) == set(DISCRIMINATORS.names()) <= set(GENERATORS.names())


def test_without_a_flag_it_is_stylegan2_as_ever():
    assert options() == TrainStyleGAN2()
    assert options("--arch", "stylegan2") == TrainStyleGAN2()


def test_pggan_as_published():
    """PGGAN, appendix A.1."""
    o = options("--arch", "pggan", "--resolution", 1024)
    s = o.training
    assert (s.loss, s.gradient_penalty, s.drift, s.learning_rate) == ("wgan", 10.0, 0.001, 0.001)
    assert (s.grow_from, s.fade_nimg, s.stable_nimg) == (4, 800_000, 800_000)
    assert (o.network.channel_base, o.network.channel_max, o.network.mbstd_group) == (16384, 512, 4)
    sizes = [s.batch_size_at(phase * 1_600_000, 1024) for phase in range(9)]
    assert sizes == [16] * 6 + [14, 6, 3]
    assert (s.style_mixing, s.path_length_interval) == (0.0, 0)


@pytest.mark.parametrize(
    ("name", "normalization", "lazy_r1", "path_length_interval"),
    [
        ("config-a", "adain", False, 0),
        ("config-b", "demodulation", False, 0),
        ("config-c", "demodulation", True, 0),
        ("config-d", "demodulation", True, 4),
    ],
)
def test_stylegan2s_table_1_up_to_d(name, normalization, lazy_r1, path_length_interval):
    o = options("--preset", name, "--resolution", 1024)
    s = o.training
    assert (o.network.arch, o.network.normalization, o.network.channel_base) == ("stylegan", normalization, 16384)
    assert (s.lazy_r1, s.path_length_interval, s.r1_gamma) == (lazy_r1, path_length_interval, 10.0)
    assert (s.grow_from, s.style_mixing, s.loss) == (8, 0.9, "logistic")
    phases = [s.batch_size_at(phase * 1_200_000, 1024) for phase in range(8)]
    assert phases == [256, 128, 64, 32, 32, 32, 32, 32]
    assert s.learning_rate == 0.001
    assert s.learning_rates == {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}


@pytest.mark.parametrize(("name", "channel_base", "gamma"), [("config-e", 16384, 100.0), ("config-f", 32768, 10.0)])
def test_stylegan2s_table_1_from_e(name, channel_base, gamma):
    o = options("--preset", name)
    assert (o.network.arch, o.network.g_architecture, o.network.d_architecture) == ("stylegan2", "skip", "residual")
    assert (o.network.channel_base, o.training.r1_gamma, o.training.grow_from) == (channel_base, gamma, None)


@pytest.mark.parametrize(
    ("flags", "batch_size", "group", "channel_base", "learning_rate", "gamma", "ema_nimg"),
    [
        (("--resolution", 128), 32, 4, 16384, 0.0025, 0.0002 * 128**2 / 32, 10_000),
        (("--resolution", 256), 16, 4, 16384, 0.0025, 0.8192, 5_000),
        (("--resolution", 512), 8, 4, 32768, 0.0025, 6.5536, 2_500),
        (("--resolution", 1024), 4, 4, 32768, 0.002, 52.4288, 1_250),
        (("--resolution", 256, "--batch_size", 64), 64, 4, 16384, 0.0025, 0.2048, 20_000),
        (("--batch_size=2",), 2, 2, 16384, 0.0025, 0.4096, 625),
    ],
)
def test_auto_is_adas(flags, batch_size, group, channel_base, learning_rate, gamma, ema_nimg):
    o = options("--preset", "auto", *flags)
    s, n = o.training, o.network
    assert (s.batch_size, n.mbstd_group, n.channel_base, n.mapping_layers) == (batch_size, group, channel_base, 2)
    assert (s.learning_rate, s.ema_nimg, s.ema_rampup) == (learning_rate, ema_nimg, 0.05)
    assert s.r1_gamma == pytest.approx(gamma)


@pytest.mark.parametrize("arch", architectures())
@pytest.mark.parametrize("resolution", [32, 64])
def test_the_laptops_preset_grows_up_in_time(arch, resolution):
    o = options("--preset", "tiny-cpu", "--arch", arch, "--resolution", resolution)
    s = o.training
    assert s.stage(s.total_nimg * 2 // 3, resolution) == (resolution, 1.0)
    assert s.batch_size_at(s.total_nimg, resolution) == 8
    assert (o.network.channel_base, o.network.channel_max) == (2048, 128)


def test_flags_win_over_preset_and_architecture():
    o = options("--preset", "config-d", "--batch_sizes", 8, 4, "--r1_gamma", 3, "--grow_from", 16)
    assert (o.training.batch_sizes, o.training.r1_gamma, o.training.grow_from) == ({8: 4}, 3.0, 16)
    o = options("--arch", "pggan", "--loss", "logistic", "--lazy_r1")
    assert (o.training.loss, o.training.lazy_r1, o.training.r1_gamma) == ("logistic", True, 10.0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--arch biggan", "there is no architecture 'biggan': choose one of stylegan2, pggan, stylegan"),
        (
            "--preset tinycpu",
            "there is no preset 'tinycpu': choose one of tiny-cpu, auto, config-e, config-f, paper256",
        ),
        ("--arch stylegan2 --preset config-b", "no preset 'config-b' .it is one of --arch stylegan.: choose one of"),
        (
            "--arch pggan --preset config-a",
            "no preset 'config-a' .it is one of --arch stylegan.: choose one of tiny-cpu",
        ),
        ("--arch stylegan2 --grow_from 8", "full resolution from the beginning: leave out --grow_from"),
        ("--arch pggan --style_mixing 0.5", "styles cannot be mixed: use --style_mixing 0"),
        ("--arch stylegan --resolution 16 --grow_from 32", "--grow_from must be a power of two from 4 to 16, not 32"),
        ("--arch stylegan --normalization group", "invalid choice 'group' for argument '--normalization'"),
        ("--arch pggan --resolution 48", "the resolution must be a power of two from 8 to 4096, not 48"),
        ("--arch stylegan --batch_sizes 8", "batch_sizes"),
        ("--preset auto --resolution big", "--resolution"),
        ("--preset auto --batch_size 0", "--batch_size must be at least 1, not 0"),
        ("--freeze_d 2", "give its file with --init_from"),
        ("--freeze_synthesis", "freezes a trained synthesis network: give its file with --init_from"),
        ("--init_psi 1.2", "changes a trained mapping network: give its file with --init_from"),
        ("--g_learning_rate 0", "--g_learning_rate must be positive"),
        ("--loss mse", "--loss must be logistic or wgan or hinge, not 'mse'"),
    ],
)
def test_a_mistake_is_one_sentence(flags, words):
    with pytest.raises(UserError) as caught:
        options(*flags.split())
    sentence = with_flags(str(caught.value), TrainStyleGAN2)
    assert re.search(words, sentence)
    assert "\n" not in sentence


@pytest.mark.parametrize("arch", architectures())
def test_a_projected_discriminator_sets_its_loss(arch):
    o = options("--arch", arch, "--d", "projected")
    assert (o.training.loss, o.training.r1_interval, o.training.path_length_interval) == ("hinge", 0, 0)
    assert options("--d", "projected", "--path_length_interval", 4).training.path_length_interval == 4


def test_the_projected_discriminator_is_built_for_the_generator():
    o = options("--d", "projected", "--preset", "tiny-cpu", "--channels", 1)
    G, D, _ = o.network.build()
    assert (D.side, D.num_classes, G.img_channels) == (128, 0, 1)
    assert options("--d", "projected", "--d_side", 96).network.build()[1].side == 96


@pytest.mark.parametrize(
    ("flags", "message"), [(("--d", "none"), "own or projected"), (("--d_side", 100), "multiple of 32")]
)
def test_discriminators_that_there_are_not(flags, message):
    with pytest.raises(UserError, match=message):
        options(*flags)


def test_the_flags_are_the_arguments_of_all_networks():
    names = {field.name for field in fields(network_settings())}
    assert names >= {"z_dim", "w_dim", "mapping_lr_multiplier", "conv_clamp", "mbstd_channels", "normalization"}
    assert not names & {"img_resolution", "img_channels", "num_classes", "architecture"}
    G, D, _ = options(
        *[
            "--resolution",
            "16",
            "--channel_base",
            "64",
            "--channel_max",
            "4",
            "--conv_clamp",
            "3",
            "--mbstd_channels",
            "2",
        ]
    ).network.build()
    assert (built_as(G)["conv_clamp"], built_as(D)["mbstd_channels"]) == (3.0, 2)


TOY = '''
from torch import nn

from stylegan2.networks.registry import DISCRIMINATORS, GENERATORS


@GENERATORS.register("toy")
class ToyGenerator(nn.Module):
    """Toy.

    Args:
        leaves: How many leaves it has.
    """

    published = {"batch_size": 6, "leaves": 4}
    presets = {"oak": {"leaves": 7}}
    grows, has_styles, num_classes = False, False, 0

    def __init__(self, img_resolution, img_channels=3, z_dim: int = 24, leaves: int = 2, green: bool = False):
        super().__init__()


@DISCRIMINATORS.register("toy")
def build_discriminator(img_resolution, roots: int = 5):
    return nn.Identity()
'''


@pytest.fixture
def _toy(monkeypatch, tmp_path):
    """Register a generator with arguments and defaults of its own, for one test."""
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "__init__.py").touch()
    (tmp_path / "toys" / "generator.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(
        registered, "modules_with", lambda text, package: [*modules_with(text, package), "toys.generator"]
    )
    read_parts.cache_clear()
    importlib.import_module("toys.generator")
    yield
    del sys.modules["toys.generator"]
    for registry in (GENERATORS, DISCRIMINATORS):
        del registry._builders["toy"]
    read_parts.cache_clear()
    read_source.cache_clear()


@pytest.mark.usefixtures("_toy")
def test_a_generators_own_arguments_and_defaults_are_flags():
    settings = network_settings()

    @dataclass
    class Command:
        preset: str | None = None
        batch_size: int = 32
        style_mixing: float = 0.9
        network: tyro.conf.OmitArgPrefixes[settings] = field(default_factory=settings)

    def command(*args):
        return parse(Command, chosen_settings, args=args)

    o = command("--arch", "toy", "--green")
    assert (o.network.z_dim, o.network.leaves, o.network.green, o.network.roots, o.batch_size) == (24, 4, True, 5, 6)
    assert command("--preset", "oak").network.arch == "toy"
    assert command("--preset", "oak").network.leaves == 7
    assert command("--preset", "oak", "--leaves", "9").network.leaves == 9
    assert built_as(command("--preset", "oak").network.build()[0])["leaves"] == 7
    assert (command().network.arch, command().network.z_dim) == ("stylegan2", 512)
    with pytest.raises(UserError, match="leaves must be at least 1, not 0"):
        command("--arch", "toy", "--leaves", "0")


def test_the_listed_presets_are_those_that_there_are():
    assert set(preset_names()) == {name for arch in architectures() for name in training_presets(arch)}
