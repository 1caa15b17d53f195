"""A registered loss has a weight and settings on the command line, under published names if it has any."""

from dataclasses import fields

import pytest

from options.losses import loss_arguments, loss_lambdas, loss_settings
from options.parse import parse
from options.registered import read_parts
from options.source import read_source
from scripts.train_psp import TrainPSp

PUBLISHED = (
    "l2_lambda lpips_lambda id_lambda w_norm_lambda l2_lambda_crop lpips_lambda_crop delta_norm_lambda moco_lambda "
    "perceptual perceptual_weights identity identity_weights moco_weights"
)


HINGE = '''
from torch import nn

from psp.losses import register_loss


@register_loss("hinge")
class Hinge(nn.Module):
    """Hinge distance of two images.

    Args:
        margin: Difference below which nothing is lost.
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
'''


@pytest.fixture
def more_losses(monkeypatch, tmp_path):
    """Provide the name of a package with one loss."""
    (tmp_path / "more_losses").mkdir()
    (tmp_path / "more_losses" / "__init__.py").touch()
    (tmp_path / "more_losses" / "hinge.py").write_text(HINGE)
    monkeypatch.syspath_prepend(tmp_path)
    read_parts.cache_clear()
    yield "more_losses"
    read_parts.cache_clear()
    read_source.cache_clear()


def test_published_names_are_kept():
    assert set(PUBLISHED.split()) <= {field.name for field in fields(loss_settings())}


def test_flags_are_weights_over_the_defaults_and_arguments():
    o = parse(
        TrainPSp,
        args=["--lpips_lambda", "0.5", "--l2_lambda_crop", "2", "--perceptual", "vgg", "--identity_weights", "a.pth"],
    )
    lambdas = loss_lambdas(o.losses, {"l2": 1.0, "perceptual": 0.8})
    assert lambdas == {"l2": 1.0, "perceptual": 0.5, "l2_crop": 2.0}
    arguments = loss_arguments(o.losses)
    assert arguments["perceptual"] == arguments["perceptual_crop"] == {"network": "vgg", "path": None}
    assert arguments["id"]["network"] == "auto"
    assert arguments["id"]["path"].name == "a.pth"
    assert arguments["l2"] == {}


def test_a_new_loss_has_flags_and_help(more_losses, capsys):
    settings = loss_settings(more_losses)
    o = parse(settings, args=["--hinge_lambda", "0.3", "--hinge-margin=0.25"])
    assert loss_lambdas(o, {}, more_losses) == {"hinge": 0.3}
    assert loss_arguments(o, more_losses)["hinge"] == {"margin": 0.25}
    with pytest.raises(SystemExit):
        parse(settings, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "weight of the loss hinge: hinge distance of two images" in text
    assert "difference below which nothing is lost (default: 0.1)" in text
