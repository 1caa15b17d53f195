"""Names of published pSp, e4e and ReStyle models that `psp.loading.load` reads; `psp download NAME` gets one.

Each file also holds its generator, which was converted from NVIDIA's.
"""

from stylegan2.published import NVIDIA_LICENCE, drive
from stylegan2.runtime.weights import Download, PretrainedFile

_LICENCE = f"MIT; the generator inside: {NVIDIA_LICENCE}"
PSP, E4E = "https://github.com/eladrich/pixel2style2pixel", "https://github.com/omertov/encoder4editing"
RESTYLE = "https://github.com/yuval-alaluf/restyle-encoder"
_ROWS = (  # name, project, domain, resolution, task, its id at Google Drive, megabytes of encoder and generator
    ("psp_ffhq_encode", PSP, "faces", 1024, "inversion", "1bMTNWkh5LArlaWSc_wa8VKyq2V42T2z0", 1200),
    ("psp_ffhq_frontalization", PSP, "faces", 1024, "frontalization", "1_S4THAzXb-97DbpXmanjHtXRyKxqjARv", 1200),
    ("psp_celebs_sketch_to_face", PSP, "faces", 1024, "sketch", "1lB7wk7MwtdxL-LL4Z_T76DuCfk00aSXA", 1200),
    ("psp_celebs_seg_to_face", PSP, "faces", 1024, "segmentation", "1VpEKc6E6yG3xhYuZ0cq8D2_1CbT0Dstz", 1200),
    ("psp_celebs_super_resolution", PSP, "faces", 1024, "super_resolution", "1ZpmSXBpJ9pFEov6-jjQstAlfYbkebECu", 1200),
    ("psp_ffhq_toonify", PSP, "faces", 1024, "toonify", "1YKoiVuFaqdvzDP5CZaqa3k5phL-VDmyz", 1200),
    ("e4e_ffhq_encode", E4E, "faces", 1024, "inversion", "1cUv_reLE6k3604or78EranS7XzuVMWeO", 1200),
    ("e4e_cars_encode", E4E, "cars", 512, "inversion", "17faPqBce2m1AQeLCLHUVXaDfxMRU2QcV", 1080),
    ("e4e_horse_encode", E4E, "horses", 256, "inversion", "1TkLLnuX86B_BMo2ocYD0kX9kWh53rUVX", 960),
    ("e4e_church_encode", E4E, "churches", 256, "inversion", "1-L0ZdnQLwtdy6-A_Ccgq5uNJGTqE7qBa", 960),
    ("restyle_psp_ffhq_encode", RESTYLE, "faces", 1024, "inversion", "1sw6I2lRIB0MpuJkpc8F5BJiSZrc0hjfE", 955),
    ("restyle_psp_cars_encode", RESTYLE, "cars", 512, "inversion", "1zJHqHRQ8NOnVohVVCGbeYMMr6PDhRpPR", 830),
    ("restyle_psp_church_encode", RESTYLE, "churches", 256, "inversion", "1bcxx7mw-1z7dzbJI_z7oGpWG1oQAvMaD", 750),
    (
        "restyle_psp_afhq_wild_encode",
        RESTYLE,
        "wild animals' faces",
        512,
        "inversion",
        "1GyFXVTNDUw3IIGHmGS71ChhJ1Rmslhk7",
        830,
    ),
    ("restyle_e4e_ffhq_encode", RESTYLE, "faces", 1024, "inversion", "1e2oXVeBPXMQoUoC_4TNwAWpOPpSEhE_e", 955),
    ("restyle_e4e_cars_encode", RESTYLE, "cars", 512, "inversion", "1v6Yi-Yne6JX0Pyas6XPS83IzKKUvCe8r", 830),
    ("restyle_e4e_church_encode", RESTYLE, "churches", 256, "inversion", "1sCRzbM1fGTgTbWO87jP_rxApw-tS0CH_", 750),
    (
        "restyle_e4e_afhq_wild_encode",
        RESTYLE,
        "wild animals' faces",
        512,
        "inversion",
        "1HQlUPKirShHyL3kGnwVRjhfcb-j9s4V3",
        830,
    ),
    ("restyle_e4e_horse_encode", RESTYLE, "horses", 256, "inversion", "19_sUpTYtJmhSAolKLm3VgI-ptYqd-hgY", 750),
)


def _model(
    name: str, project: str, domain: str, resolution: int, task: str, file_id: str, megabytes: int | None
) -> PretrainedFile:
    page = f"{project}#pretrained-models"
    return PretrainedFile(
        name,
        f"{name}.pt",
        f"an encoder of {domain} for {task} with its generator",
        "user:",
        None,
        _LICENCE,
        f"get it from {page}",
        "use a model that comes with this package",
        kind="pSp model",
        domain=domain,
        resolution=resolution,
        task=task,
        download=Download(drive(file_id), page, megabytes),
    )


PUBLISHED: tuple[PretrainedFile, ...] = tuple(_model(*row) for row in _ROWS)
