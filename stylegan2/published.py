"""Names of published generators that `stylegan2.load` reads; `psp download NAME` gets one.

Resolutions are those of the networks in the files; file sizes are approximate, as the servers state the exact ones.
"""

from stylegan2.runtime.weights import Download, PretrainedFile

NVIDIA_LICENCE = "NVIDIA Source Code License: research and evaluation, no commercial use"
_NVIDIA_PAGE = "https://catalog.ngc.nvidia.com/orgs/nvidia/teams/research/models/stylegan2"
_NVIDIA_FILES = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
_RESTYLE_PAGE = "https://github.com/yuval-alaluf/restyle-encoder#auxiliary-models"
_ROSINALITY_PAGE = "https://github.com/rosinality/stylegan2-pytorch#pretrained-checkpoints"
_GANSPACE_PAGE = "https://github.com/harskish/ganspace"


def drive(file_id: str) -> str:
    """Return the address at which Google Drive serves a large file without a page of confirmation."""
    return f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t"


def _generator(
    name: str, file: str, domain: str, resolution: int, url: str, page: str, megabytes: int | None
) -> PretrainedFile:
    return PretrainedFile(
        name,
        file,
        f"a StyleGAN2 of {domain} of {resolution} px",
        "user:",
        None,
        NVIDIA_LICENCE,
        f"get it from {page}",
        "use a generator that comes with this package",
        kind="generator",
        domain=domain,
        resolution=resolution,
        download=Download(url, page, megabytes),
    )


def _nvidia(name: str, domain: str, resolution: int) -> PretrainedFile:
    """Return the entry of a pickle of NVIDIA: generator, its moving average and the discriminator."""
    file = f"stylegan2-{name}-{resolution}x{resolution}.pkl"
    megabytes = 290 if resolution <= 256 else 365
    url = f"{_NVIDIA_FILES}/{file}"
    return _generator(f"stylegan2_{name}_{resolution}", file, domain, resolution, url, _NVIDIA_PAGE, megabytes)


def _restyle(name: str, domain: str, resolution: int, file_id: str, file: str | None = None) -> PretrainedFile:
    """Return the entry of a generator that the authors of ReStyle converted to rosinality's layout."""
    name = f"stylegan2_{name}"
    file = file or f"{name.replace('_', '-')}.pt"
    return _generator(name, file, domain, resolution, drive(file_id), _RESTYLE_PAGE, 130)


_CATS, _FACES_256 = drive("15vJP8GDr0FlRYpE8gD7CdeEz2mXrQMgN"), drive("1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO")
PUBLISHED: tuple[PretrainedFile, ...] = (
    _nvidia("ffhq", "faces", 1024),
    _nvidia("ffhq", "faces", 512),
    _nvidia("ffhq", "faces", 256),
    _nvidia("ffhqu", "faces, not aligned", 1024),
    _nvidia("ffhqu", "faces, not aligned", 256),
    _nvidia("celebahq", "faces", 256),
    _nvidia("metfaces", "faces in paintings", 1024),
    _nvidia("afhqcat", "cats' faces", 512),
    _nvidia("afhqdog", "dogs' faces", 512),
    _nvidia("afhqwild", "wild animals' faces", 512),
    _nvidia("afhqv2", "animals' faces", 512),
    _nvidia("lsundog", "dogs", 256),
    _restyle("ffhq_config_f", "faces", 1024, "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT"),
    _restyle("car_config_f", "cars", 512, "1UmMHHB3DU1trTB8_9Fjkck5ZwArnD81B"),
    _restyle("church_config_f", "churches", 256, "1ZSZOFtw5wZfPhWEzHFB9LI__bikaHsn6"),
    _restyle("horse_config_f", "horses", 256, "1bM7ms1tWCucnySjiS6-NNrPJGDkqQQWi"),
    _restyle("afhq_wild", "wild animals' faces", 512, "1z6IVVaCJuFTksKwp1CM3emWOVHbrBip-", "afhqwild.pt"),
    _generator("stylegan2_cat_config_f", "stylegan2_cat_256.pt", "cats", 256, _CATS, _GANSPACE_PAGE, 130),
    _generator("rosinality_ffhq_256", "550000.pt", "faces", 256, _FACES_256, _ROSINALITY_PAGE, None),
)
