"""Combine the layers of two generators: python scripts/blend.py --base G1 --style G2 --swap_from 32 --out FILE"""

import _start  # noqa: F401

# isort: split

import torch

import stylegan2
from options.commands.blend import Blend
from options.parse import run
from options.results import check_new
from stylegan2.latents.blend import blend
from stylegan2.loading import save_generator
from stylegan2.runtime import images
from stylegan2.runtime.device import tune_process
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.randomness import seeded_normal

SAMPLES, PSI = 6, 0.7


def main(o: Blend) -> None:
    tune_process()
    if o.out.suffix != ".safetensors":
        raise UserError(f"--out must end in .safetensors, not {o.out.name!r}")
    check_new((o.out, o.out.with_suffix(".png")), o.overwrite)
    (base, base_metadata), (style, style_metadata) = stylegan2.load(o.base), stylegan2.load(o.style)
    blended = blend(base, style, o.swap_from, o.ramp)
    licences = [metadata.get("licence") or "unknown" for metadata in (base_metadata, style_metadata)]
    recipe = {"swap_from": o.swap_from, "ramp": o.ramp}
    save_generator(o.out, blended, {"blend": recipe, "licence": " and ".join(dict.fromkeys(licences))})
    with torch.inference_mode():
        z = seeded_normal((SAMPLES, base.z_dim), o.seed)
        columns = [generator(z, truncation_psi=PSI) for generator in (base, style, blended)]  # 3 x [N, C, R, R]
    rows = [list(images.to_uint8(row)) for row in torch.stack(columns, 1)]  # N rows of 3 images [R, R, C]
    images.write_image(o.out.with_suffix(".png"), images.labelled_sheet(rows, ("base", "style", "blend")))
    print(f"written: {o.out} and {o.out.with_suffix('.png')} (base | style | blend)")


if __name__ == "__main__":
    run(main, Blend)
