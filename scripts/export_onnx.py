"""Write a model as ONNX graphs: python scripts/export_onnx.py synthfaces64_inversion --out onnx/"""

import _start  # noqa: F401

# isort: split

from options.commands.export_onnx import ExportOnnx
from options.parse import run
from options.results import check_new
from psp import loading
from psp.convert.onnx_export import export_part, metadata_of, parts_of
from psp.model import PSp
from stylegan2.runtime.errors import UserError


def main(o: ExportOnnx) -> None:
    model, metadata = loading.load_any(o.model)
    parts = parts_of(model.requires_grad_(False))
    if o.part != "all" and o.part not in parts:
        raise UserError(f"{o.model!r} has no {o.part}: choose one of all, {', '.join(parts)}")
    selected = list(parts.values()) if o.part == "all" else [parts[o.part]]
    paths = {part.name: o.out / f"{part.name}.onnx" for part in selected}
    check_new(paths.values(), o.overwrite)
    if isinstance(model, PSp) and model.conjugate_steps and not {"encoder", "model"}.isdisjoint(paths):
        print(f"the {model.conjugate_steps} steps of conjugate gradients that follow the passes are left out")
    for part in selected:
        path = paths[part.name]
        difference = export_part(part, path, metadata_of(model, metadata, part, o.half), o.half)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, differs from PyTorch by {difference:.0e}", flush=True)


if __name__ == "__main__":
    run(main, ExportOnnx)
