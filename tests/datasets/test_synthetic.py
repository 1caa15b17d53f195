"""Procedural faces are the same on every machine, agree with their ground truth, and are sharp at every size."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.faces import labels, scene
from datasets.faces.raster import grid_triangles, rasterise
from datasets.synthetic import HELD_OUT_SEED, Identity, Nuisance, SyntheticFaces, render
from stylegan2.runtime.errors import UserError

GOLDEN = Path(__file__).parents[1] / "golden" / "synthetic_sheet.png"
GOLDEN_INDICES = range(8)
ID = labels.ID
PLAIN = Identity()


def to_uint8(sample):
    return ((sample.image.transpose(1, 2, 0) + 1) * 127.5 + 0.5).astype(np.uint8)


def golden_sheet():
    faces = SyntheticFaces(32)
    return np.concatenate([faces.image(i) for i in GOLDEN_INDICES], axis=1)


# ---- determinism


def test_any_order_gives_the_same_face():
    faces = SyntheticFaces(32)
    forward = [faces.image(i) for i in range(4)]
    backward = [SyntheticFaces(32).image(i) for i in (3, 2, 1, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forward, backward, strict=True))


def test_global_random_state_is_neither_read_nor_moved():
    np.random.seed(1)
    before = SyntheticFaces(32).image(5)
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    assert np.array_equal(before, SyntheticFaces(32).image(5))
    np.random.seed(1)
    SyntheticFaces(32).image(5)
    assert np.array_equal(state, np.random.get_state()[1])


def test_another_process_renders_the_same():
    code = (
        "import sys; from datasets.synthetic import SyntheticFaces; "
        "sys.stdout.buffer.write(SyntheticFaces(32)[7].image.tobytes())"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, check=True).stdout
    assert out == SyntheticFaces(32)[7].image.tobytes()


def test_golden_sheet():
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    difference = np.abs(golden_sheet().astype(int) - golden)
    assert (difference <= 2).mean() >= 0.999


def test_seeds_and_indices_differ():
    images = [SyntheticFaces(32, seed=s).image(i) for s in (0, HELD_OUT_SEED) for i in range(4)]
    for i, a in enumerate(images):
        for b in images[i + 1 :]:
            assert np.abs(a.astype(int) - b).mean() > 4


# ---- the sample


def test_sample_has_the_promised_types():
    sample = SyntheticFaces(48)[3]
    assert sample.image.shape == (3, 48, 48)
    assert sample.image.dtype == np.float32
    assert -1 <= sample.image.min() < sample.image.max() <= 1
    assert sample.label_map.shape == (48, 48)
    assert sample.label_map.dtype == np.uint8
    assert sample.landmarks.shape == (68, 2)
    assert sample.landmarks.dtype == np.float32
    assert all(isinstance(v, bool) for v in sample.attributes.values())


def test_image_path_equals_sample():
    faces = SyntheticFaces(32)
    assert np.array_equal(faces.image(9), to_uint8(faces[9]))


@pytest.mark.parametrize("resolution", [32, 57, 128, 512])
def test_resolutions(resolution):
    sample = SyntheticFaces(resolution)[1]
    assert sample.image.shape == (3, resolution, resolution)
    assert np.isfinite(sample.image).all()


def test_small_image_is_the_large_one_made_smaller():
    for index in range(6):
        small = SyntheticFaces(64).image(index).astype(float)
        large = SyntheticFaces(256).image(index).astype(float).reshape(64, 4, 64, 4, 3).mean((1, 3))
        assert np.abs(small - large).mean() < 4.0
        # A picture that is only decimated keeps single bright or dark pixels; an antialiased one has few of them.
        assert (np.abs(small - large).max(-1) > 60).mean() < 0.01


def test_frontal_faces_are_framed_like_ffhq():
    faces = SyntheticFaces(32)  # landmarks are not rounded to pixels
    points = np.stack([faces.sample(i, yaw=0.0, pitch=0.0, roll=0.0).landmarks for i in range(40)]) / 32
    left, right = points[:, 36:42].mean((0, 1)), points[:, 42:48].mean((0, 1))
    mouth = points[:, [48, 54]].mean((0, 1))
    assert left == pytest.approx([0.38, 0.475], abs=0.015)
    assert right == pytest.approx([0.62, 0.475], abs=0.015)
    assert mouth == pytest.approx([0.5, 0.735], abs=0.02)


# ---- identity and nuisance are separate


def test_landmarks_turn_like_points_in_space():
    """Two views give depth; the third view must agree with it (orthographic, up to FFHQ's scale and shift)."""
    identity = SyntheticFaces(32).identity(4)

    def raw(yaw):
        _, points = scene.meshes(identity, Nuisance(yaw=yaw))
        pose = scene.frame(points, Nuisance(yaw=yaw))
        sample = render(identity, Nuisance(yaw=yaw), 256)
        return sample.landmarks / (256 * pose.scale), points

    flat, points = raw(0.0)
    turned, same = raw(35.0)
    assert np.allclose(points, same)  # yaw does not change the person
    x, z = points[:, 0], points[:, 2]
    expected = np.cos(np.deg2rad(35)) * x + np.sin(np.deg2rad(35)) * z
    a, b = turned[:, 0] - turned[:, 0].mean(), expected - expected.mean()
    assert np.abs(a - b).max() < 0.02  # units of 10 cm
    assert np.abs((flat[:, 1] - flat[:, 1].mean()) - (turned[:, 1] - turned[:, 1].mean())).max() < 0.03
    assert turned[30, 0] - turned[27, 0] > flat[30, 0] - flat[27, 0] + 0.03  # the tip of the nose leads the turn


def test_opposite_yaws_mirror_a_symmetric_head():
    bald = Identity(hair_style="bald")
    light = {"light": (0.0, 0.4, 0.9)}
    left, right = (render(bald, Nuisance(yaw=y, **light), 64).image for y in (-40.0, 40.0))
    assert np.abs(left - right[:, :, ::-1]).mean() < 0.03


def test_overrides_change_only_what_they_name():
    faces = SyntheticFaces(32)
    frontal, own = faces.sample(11, yaw=0.0), faces[11]
    assert frontal.identity == own.identity
    assert frontal.pose[0] == 0.0
    assert frontal.nuisance.light == own.nuisance.light
    assert faces.sample(11, hair_style="bald").nuisance == own.nuisance


def test_a_person_keeps_their_colours_at_every_yaw():
    faces = SyntheticFaces(64)
    for index in range(4):
        means = []
        for yaw in (-30.0, 0.0, 30.0):
            sample = faces.sample(index, yaw=yaw, light=(0.0, 0.3, 0.95), glasses="none", beard="none")
            means.append(sample.image[:, sample.label_map == ID["skin"]].mean(1))
        assert np.ptp(np.stack(means), axis=0).max() < 0.12


def test_yaw_is_mostly_frontal_with_tails():
    yaw = np.array([SyntheticFaces(32).nuisance(i).yaw for i in range(2000)])
    assert 13 < yaw.std() < 20
    assert np.abs(yaw).max() <= 60
    assert np.abs(yaw).max() > 45


# ---- labels, landmarks and attributes agree


def test_left_is_the_images_left():
    sample = render(PLAIN, Nuisance(), 128)
    columns = {
        name: np.nonzero(sample.label_map == ID[name])[1].mean()
        for name in ("l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear")
    }
    assert columns["l_eye"] < 64 < columns["r_eye"]
    assert columns["l_brow"] < 64 < columns["r_brow"]
    assert columns["l_ear"] < columns["l_eye"]
    assert columns["r_ear"] > columns["r_eye"]
    assert sample.landmarks[36:42, 0].mean() < 64 < sample.landmarks[42:48, 0].mean()


@pytest.mark.parametrize("yaw", [0.0, 20.0])
def test_landmarks_lie_on_their_labels(yaw):
    faces = SyntheticFaces(256)
    for index in range(8):
        sample = faces.sample(index, yaw=yaw, glasses="none", eye_open=1.0)
        for name, points in (("l_eye", slice(36, 42)), ("r_eye", slice(42, 48)), ("u_lip", slice(49, 54))):
            ys, xs = np.nonzero(sample.label_map == ID[name])
            distance = np.hypot(xs + 0.5 - sample.landmarks[points, :1], ys + 0.5 - sample.landmarks[points, 1:])
            assert distance.min(1).max() < 4.0, (index, name)


def test_every_part_of_a_face_is_labelled():
    seen = set()
    faces = SyntheticFaces(64)
    for index in range(30):
        seen |= set(np.unique(faces[index].label_map).tolist())
    absent = {ID["hat"], ID["ear_r"], ID["neck_l"]}  # not worn in this world
    assert seen == set(range(19)) - absent


def test_attributes_match_the_labels():
    faces = SyntheticFaces(128)
    for index in range(40):
        sample = faces[index]
        count = np.bincount(sample.label_map.ravel(), minlength=19)
        assert (count[ID["eye_g"]] > 0) == sample.attributes["glasses"], index
        assert (count[ID["hair"]] == 0) == sample.attributes["bald"], index
    closed, opened = (render(PLAIN, Nuisance(open_mouth=v), 128) for v in (0.0, 1.0))
    assert (closed.label_map == ID["mouth"]).sum() == 0
    assert (opened.label_map == ID["mouth"]).sum() > 80
    assert opened.attributes["open_mouth"]
    assert not closed.attributes["open_mouth"]


def test_closed_eyes_show_no_eye():
    shut, wide = (render(PLAIN, Nuisance(eye_open=v), 128) for v in (0.0, 1.0))
    eyes = [np.isin(s.label_map, (ID["l_eye"], ID["r_eye"])).sum() for s in (shut, wide)]
    assert eyes[0] == 0 < eyes[1]


def test_beards_and_hair_take_the_hairs_colour():
    white = {"hair": (0.95, 0.95, 0.95), "dark_hair": False}
    bare, bearded = (render(Identity(beard=b, **white), Nuisance(), 128) for b in ("none", "full"))
    chin = bare.landmarks[8].astype(int) - [0, 8]
    assert bearded.image[2, chin[1], chin[0]] > bare.image[2, chin[1], chin[0]] + 0.1
    dark = render(Identity(hair=(0.05, 0.05, 0.05)), Nuisance(), 128)
    assert dark.image[:, dark.label_map == ID["hair"]].mean() < bare.image[:, bare.label_map == ID["hair"]].mean() - 0.5


def test_light_comes_from_its_side():
    for side in (-1.0, 1.0):
        sample = render(PLAIN, Nuisance(light=(side * 0.8, 0.1, 0.59)), 64)
        skin = np.where(sample.label_map == ID["skin"], sample.image.mean(0), np.nan)
        assert side * (np.nanmean(skin[:, 32:]) - np.nanmean(skin[:, :32])) > 0.1


# ---- the rasteriser against a plain double loop


def test_rasteriser_equals_a_loop():
    rng = np.random.default_rng(3)
    vertices = rng.uniform(-3, 19, (60, 3)).astype(np.float32)
    triangles = rng.integers(0, 60, (40, 3)).astype(np.int32)
    size = 16
    pixel, triangle, _ = rasterise(vertices, triangles, size, np.ones(40, bool))
    owners = np.full(size * size, -1)
    owners[pixel] = triangle
    wrong = 0
    for index in range(size * size):
        centre = np.array([index % size + 0.5, index // size + 0.5])
        best, owner = -np.inf, -1
        for t, (a, b, c) in enumerate(vertices[triangles].astype(float)):
            area = np.linalg.det([b[:2] - a[:2], c[:2] - a[:2]])
            if abs(area) < 1e-6:
                continue
            wb = np.linalg.det([centre - a[:2], c[:2] - a[:2]]) / area
            wc = np.linalg.det([b[:2] - a[:2], centre - a[:2]]) / area
            depth = (1 - wb - wc) * a[2] + wb * b[2] + wc * c[2]
            if min(wb, wc, 1 - wb - wc) >= 0 and depth > best:
                best, owner = depth, t
        wrong += owner != owners[index]
    assert wrong <= 1  # a centre within the seam of an edge may go either way


def test_rasteriser_leaves_no_cracks_in_a_grid():
    rng = np.random.default_rng(4)
    n = 24
    y, x = np.meshgrid(np.linspace(-2, 66, n), np.linspace(-2, 66, n), indexing="ij")
    jitter = rng.uniform(-1, 1, (2, n, n))
    vertices = np.stack([x + jitter[0], y + jitter[1], rng.uniform(0, 1, (n, n))], -1).reshape(-1, 3).astype(np.float32)
    pixel, _, weights = rasterise(vertices, grid_triangles(n, n), 64, np.ones(2 * (n - 1) ** 2, bool))
    assert len(np.unique(pixel)) == 64 * 64
    assert np.allclose(sum(weights), 1.0, atol=1e-5)


# ---- mistakes


@pytest.mark.parametrize("resolution", [31, 513, 64.0, "64", None])
def test_bad_resolution(resolution):
    with pytest.raises(UserError, match="32 to 512"):
        SyntheticFaces(resolution)


def test_bad_arguments_are_named():
    faces = SyntheticFaces(32)
    for call in (
        lambda: faces[-1],
        lambda: faces["3"],
        lambda: faces.sample(0, colour=1),
        lambda: faces.sample(0, hair_style="mohawk"),
        lambda: faces.sample(0, shape={"snout": 1.0}),
        lambda: faces.sample(0, yaw=float("nan")),
        lambda: SyntheticFaces(32, seed=-1),
        lambda: SyntheticFaces(32, length=0),
        lambda: render(PLAIN, Nuisance(), 16),
    ):
        with pytest.raises(UserError) as mistake:
            call()
        assert not str(mistake.value).endswith(".")


def test_length_is_for_samplers_only():
    faces = SyntheticFaces(32, length=10)
    assert len(faces) == 10
    assert faces.image(10).shape == (32, 32, 3)


if __name__ == "__main__":  # python tests/datasets/test_synthetic.py: write the golden sheet anew after a wanted change
    Image.fromarray(golden_sheet()).save(GOLDEN)
