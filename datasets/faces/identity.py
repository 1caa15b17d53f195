"""The parameters of a face: the person (Identity) and the conditions (Nuisance), which are drawn independently."""

from dataclasses import dataclass, field

import numpy as np

from datasets.faces.fields import SHAPE
from stylegan2.runtime.errors import UserError

# Skin from the palest to the darkest, sRGB 0..255 at full light; colours between two neighbours are interpolated.
SKIN_TONES = np.array(
    [
        (243, 208, 188),
        (236, 193, 167),
        (224, 177, 146),
        (208, 157, 122),
        (185, 130, 96),
        (152, 102, 74),
        (118, 77, 57),
        (90, 59, 46),
    ]
)
# Hair: black, dark brown, brown, light brown, auburn, red, dark blond, blond, grey, white; weights are frequencies.
HAIR_COLOURS = np.array(
    [
        (30, 26, 26),
        (52, 37, 29),
        (82, 56, 39),
        (122, 86, 56),
        (112, 56, 36),
        (168, 88, 44),
        (160, 124, 82),
        (214, 180, 124),
        (138, 136, 136),
        (222, 220, 216),
    ]
)
HAIR_WEIGHTS = np.array([0.24, 0.20, 0.16, 0.10, 0.05, 0.04, 0.07, 0.07, 0.05, 0.02])
DARK_HAIR = 3  # the first three colours count as dark
IRIS_COLOURS = np.array([(62, 38, 24), (96, 62, 34), (124, 98, 52), (92, 118, 74), (84, 128, 158), (122, 142, 152)])
IRIS_WEIGHTS = np.array([0.42, 0.20, 0.12, 0.09, 0.11, 0.06])
HAIR_STYLES = (
    "bald",
    "buzz",
    "short",
    "side_part",
    "fringe",
    "swept_back",
    "curly",
    "afro",
    "bob",
    "long",
    "long_fringe",
    "bun",
)
STYLE_WEIGHTS = np.array([0.06, 0.07, 0.14, 0.13, 0.06, 0.06, 0.07, 0.05, 0.10, 0.14, 0.06, 0.06])
LONG_STYLES = ("bob", "long", "long_fringe")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
LENS_SHAPES = ("none", "round", "square", "wide")
BEARD_WEIGHTS = np.array([0.66, 0.10, 0.06, 0.06, 0.12])
SHAPE_CLIP = 2.2  # beyond this many standard deviations, shapes do not look human


def _choice(rng, weights):
    """Draw an index with the given weights from exactly one uniform number, so that random streams stay aligned."""
    return int(np.searchsorted(np.cumsum(weights) / np.sum(weights), rng.random(), side="right"))


@dataclass(frozen=True)
class Identity:
    """The properties of a person that do not depend on pose, expression or light. Colours are sRGB in [0, 1]."""

    shape: dict = field(default_factory=lambda: dict.fromkeys(SHAPE, 0.0))  # field name -> standard deviations
    skin: tuple = (0.85, 0.65, 0.53)
    hair: tuple = (0.25, 0.17, 0.12)
    iris: tuple = (0.30, 0.20, 0.12)
    lip: float = 0.4  # 0 skin-like .. 1 red
    dark_hair: bool = True
    hair_style: str = "short"
    hair_volume: float = 0.0  # standard normal
    hair_length: float = 0.5  # 0..1 within the style
    hair_part: float = 0.0  # side of the parting, -1..1
    hairline: float = 0.0  # standard normal, positive recedes
    brow_thickness: float = 0.0  # standard normal
    brow_arch: float = 0.0
    brow_tilt: float = 0.0
    brow_density: float = 0.8
    beard: str = "none"
    beard_length: float = 0.5
    glasses: str = "none"
    frame: tuple = (0.1, 0.1, 0.1)
    frame_width: float = 0.5
    cloth: tuple = (0.3, 0.35, 0.45)
    neckline: float = 0.5
    freckles: float = 0.0
    age: float = 0.3  # 0..1, depth of the wrinkles
    texture_seed: int = 0  # moles, freckles and strands

    def __post_init__(self):
        for name, known in (("hair_style", HAIR_STYLES), ("beard", BEARDS), ("glasses", LENS_SHAPES)):
            if getattr(self, name) not in known:
                raise UserError(f"there is no {name} {getattr(self, name)!r}: choose one of {', '.join(known)}")
        unknown = set(self.shape) - set(SHAPE)
        if unknown:
            raise UserError(f"a face has no shape {', '.join(sorted(unknown))}: there are {', '.join(SHAPE)}")

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Identity":
        """Draw a random person."""
        shape = np.clip(rng.standard_normal(len(SHAPE)), -SHAPE_CLIP, SHAPE_CLIP)
        u = rng.random(20).tolist()
        n = np.clip(rng.standard_normal(12), -2.0, 2.0).tolist()
        tone = u[0] * (len(SKIN_TONES) - 1)
        low = min(int(tone), len(SKIN_TONES) - 2)
        skin = SKIN_TONES[low] + (tone - low) * (SKIN_TONES[low + 1] - SKIN_TONES[low])
        skin = skin * (1 + 0.03 * n[0] + 0.025 * n[1] * np.array([1.0, 0.0, -1.2]))
        masculine = u[1] < 0.5
        # Dark skin mostly occurs with dark hair and eyes, so the weights of the first entries are increased.
        darkness = tone / (len(SKIN_TONES) - 1)
        colour = _choice(
            rng, HAIR_WEIGHTS * np.where(np.arange(10) < DARK_HAIR, 1.0, np.clip(1.35 - 1.5 * darkness, 0.04, 1.0))
        )
        hair = HAIR_COLOURS[colour] * (1 + 0.10 * n[2] + 0.04 * n[3] * np.array([1.0, 0.0, -1.0]))
        iris = IRIS_COLOURS[
            _choice(rng, IRIS_WEIGHTS * np.where(np.arange(6) < 2, 1.0, np.clip(1.2 - 1.6 * darkness, 0.02, 1.0)))
        ]
        long = np.isin(HAIR_STYLES, ("bob", "long", "long_fringe", "bun"))
        style_weights = STYLE_WEIGHTS * np.where(long, 0.15 if masculine else 1.7, 1.0 if masculine else 0.45)
        style = HAIR_STYLES[_choice(rng, style_weights)]
        beard = BEARDS[_choice(rng, BEARD_WEIGHTS)] if masculine else "none"
        frame = ((0.06, 0.06, 0.07), (0.28, 0.16, 0.10), (0.55, 0.52, 0.48), (0.45, 0.10, 0.12))[int(u[5] * 4)]
        hue = np.array([0.5 + 0.5 * np.cos(2 * np.pi * (u[7] + k / 3)) for k in range(3)])
        return cls(
            shape=dict(zip(SHAPE, shape.tolist(), strict=True)),
            skin=tuple(np.clip(skin / 255, 0, 1)),
            hair=tuple(np.clip(hair / 255, 0, 1)),
            iris=tuple(iris / 255),
            lip=float(u[2] * (0.45 if masculine else 1.0)),
            dark_hair=colour < DARK_HAIR,
            hair_style=style,
            hair_volume=n[4],
            hair_length=u[3],
            hair_part=float(np.sign(n[5]) * (0.5 + 0.5 * u[4])),
            hairline=n[6],
            brow_thickness=n[7] + (0.35 if masculine else -0.35),
            brow_arch=n[8] + (-0.3 if masculine else 0.3),
            brow_tilt=n[9],
            brow_density=0.55 + 0.45 * u[6],
            beard=beard,
            beard_length=u[8],
            glasses=LENS_SHAPES[1 + int(u[9] * 3)] if u[10] < 0.17 else "none",
            frame=frame,
            frame_width=u[11],
            cloth=tuple(np.clip((0.1 + 0.7 * u[12]) * (0.55 + 0.45 * hue), 0, 1)),
            neckline=u[13],
            freckles=float(max(0.0, u[14] - 0.75) * 4 * np.clip(1.1 - 1.4 * darkness, 0, 1)),
            age=u[15] ** 1.5,
            texture_seed=int(u[16] * 65536),
        )


@dataclass(frozen=True)
class Nuisance:
    """The properties that change from one photograph of a person to another. Angles are in degrees.

    Positive yaw turns the face to the right of the image, positive pitch raises the chin, and positive roll tilts the
    head clockwise. Roll is relative to FFHQ's crop, which aligns every face upright.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    smile: float = 0.0  # -0.3 (corners down) .. 1
    teeth: float = 0.0
    open_mouth: float = 0.0
    pucker: float = 0.0
    brow_raise: float = 0.0
    frown: float = 0.0
    eye_open: float = 1.0  # 0 shut .. 1.15 wide
    gaze: tuple = (0.0, 0.0)  # degrees right, up, in the head's frame
    light: tuple = (-0.35, 0.45, 0.82)  # direction towards the key light
    light_warmth: float = 0.0  # -1 blue .. 1 orange
    light_strength: float = 0.75
    ambient: float = 0.42
    background: tuple = (0.5, 0.5, 0.55)
    background_seed: int = 0

    def __post_init__(self):
        for name, limit in (("yaw", 90.0), ("pitch", 60.0), ("roll", 180.0)):
            if not abs(getattr(self, name)) <= limit:  # also catches nan
                raise UserError(f"the {name} of a face must lie within {limit:g} degrees, not {getattr(self, name)!r}")

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Nuisance":
        """Draw random conditions."""
        n = np.clip(rng.standard_normal(12), -2.5, 2.5).tolist()
        u = rng.random(16).tolist()
        # The poses of FFHQ are mostly frontal with long tails, so one head in eight has a wider distribution.
        yaw = float(np.clip(n[0] * (32.0 if u[0] < 0.12 else 14.0), -60.0, 60.0))
        smile = float(np.clip(1.3 * u[1] - 0.35, -0.3, 0.9)) if u[2] < 0.75 else 0.0
        azimuth, elevation = np.deg2rad(-70 + 140 * u[3]), np.deg2rad(5 + 50 * u[4])
        light = (np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation))
        tint = np.array([0.5 + 0.5 * np.cos(2 * np.pi * (u[5] + k / 3)) for k in range(3)])
        return cls(
            yaw=yaw,
            pitch=float(np.clip(n[1] * 5.0, -18.0, 18.0)),
            roll=float(n[2] * 1.8),
            smile=smile,
            teeth=float(u[6]) if smile > 0.35 and u[6] > 0.35 else 0.0,
            open_mouth=float(0.25 + 0.75 * u[7]) if u[8] < 0.12 else 0.0,
            pucker=float(u[9]) * 0.8 if u[8] > 0.95 else 0.0,
            brow_raise=float(np.clip(0.35 * n[3], -0.5, 1.0)),
            frown=float(np.clip(0.5 * n[4] - 0.3, 0.0, 1.0)),
            eye_open=float(np.clip(0.95 + 0.12 * n[5], 0.6, 1.15)) if u[10] > 0.03 else 0.05,
            gaze=(float(np.clip(6 * n[6] - 0.25 * yaw, -18, 18)), float(np.clip(3 * n[7], -9, 9))),
            light=tuple(float(c) for c in light),
            light_warmth=float(0.35 * n[8]),
            light_strength=float(0.50 + 0.35 * u[11]),
            ambient=float(0.26 + 0.18 * u[12]),
            background=tuple((0.12 + 0.68 * u[13]) * (1 - 0.45 * u[14] * (1 - tint))),
            background_seed=int(u[15] * 65536),
        )
