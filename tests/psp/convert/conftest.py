"""Small files of every published kind: the published keys, narrow layers, 32 px input and a 32 px generator."""

from types import SimpleNamespace

import pytest
import torch

WIDTHS, HEAD_WIDTH, W_DIM, NUM_WS, SIZE = (16, 32, 48, 64), 24, 32, 8, 32
HEADS = {"size": SIZE, "widths": WIDTHS, "w_dim": W_DIM, "head_width": HEAD_WIDTH}
# encoder_type -> (our name, layout, its arguments)
KINDS = {
    "GradualStyleEncoder": ("gradual", "encoder", HEADS),
    "Encoder4Editing": ("e4e", "encoder", HEADS),
    "BackboneEncoder": ("restyle", "restyle", HEADS),
    "ProgressiveBackboneEncoder": ("restyle_e4e", "restyle", HEADS),
    "ResNetBackboneEncoder": ("restyle_resnet", "resnet", HEADS),
    "ResNetProgressiveBackboneEncoder": ("restyle_resnet_e4e", "resnet", HEADS),
    "BackboneEncoderUsingLastLayerIntoW": ("w", "w", {"widths": WIDTHS, "w_dim": W_DIM}),
    "BackboneEncoderUsingLastLayerIntoWPlus": ("w_plus_naive", "w_plus", {"widths": WIDTHS, "w_dim": W_DIM}),
}


@pytest.fixture(scope="session")
def published(layouts):
    """`published.content(encoder_type)`: what a file of that kind holds; `published.kinds`: all of them."""

    def content(kind, num_ws=NUM_WS, resolution=32, **options):
        _, layout, sizes = KINDS[kind]
        rows = () if layout == "w" else (num_ws,)
        encoder = layouts["fill"](layouts[layout](*rows, **sizes), "encoder.")
        decoder = layouts["fill"](layouts["decoder"](resolution, w_dim=W_DIM), "decoder.", seed=1)
        rows = 1 if layout == "w" else num_ws
        average = torch.randn(1, W_DIM, generator=torch.Generator().manual_seed(2)).repeat(rows, 1)
        opts = {"encoder_type": kind, "start_from_latent_avg": True, "learn_in_w": layout == "w", **options}
        return {"state_dict": encoder | decoder, "opts": opts, "latent_avg": average}

    return SimpleNamespace(content=content, kinds=KINDS, sizes=(NUM_WS, W_DIM, SIZE))
