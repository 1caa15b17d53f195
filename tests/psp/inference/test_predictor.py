"""The interface for Python programs: photographs in, photographs out."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage import data

import psp
from psp import loading
from psp.encoders import ENCODERS, encoder_for
from psp.inference.predictor import Predictor
from psp.inference.sources import LabelMaps
from psp.model import PSp
from stylegan2.latents.directions import Directions, save_directions
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime.errors import CheckpointError, ImageError, UserError
from stylegan2.runtime.images import to_uint8


@pytest.fixture(scope="module")
def model():
    return psp.load("synthfaces64_inversion", device="cpu")


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(data.astronaut())  # 512 px, with a face


@pytest.fixture(scope="module")
def face(model, astronaut):
    return model.invert(astronaut)


def tiny(channels=3, task=None):
    torch.manual_seed(0)
    sizes = {"z_dim": 16, "w_dim": 16, "channel_base": 256, "channel_max": 16, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 32, **sizes)
    encoder = ENCODERS.build("light", num_ws=generator.num_ws, w_dim=16, input_channels=channels, input_size=32)
    return Predictor(PSp(encoder, generator, torch.randn(16)), {"task": task} if task else {})


@pytest.fixture
def smile_file(tmp_path):
    """Directions of a tiny generator: the first axis, and the second."""
    directions = Directions(("smile", "yaw"), torch.eye(16)[:2], torch.tensor([2.0, 3.0]), (0, 1))
    save_directions(tmp_path / "own.safetensors", directions, {})
    return tmp_path / "own.safetensors"


def test_a_face_is_found_and_encoded(model, face, astronaut):
    assert (face.image.size, face.image.mode) == ((64, 64), "RGB")
    assert face.aligned.size == (64, 64)
    assert (face.w_plus.shape, face.w_plus.requires_grad, face.features) == ((10, 128), False, None)
    assert face.crop is not None
    assert 100 < face.crop.side < 400  # of 512 px, of which the head is a third
    with torch.no_grad():
        again = model.model.decode(face.w_plus[None])
    assert np.abs(np.asarray(face.image, int) - to_uint8(again)[0]).max() <= 1


def test_paste_back_changes_the_face_alone(face, astronaut):
    pasted = face.paste_back()
    assert pasted.size == astronaut.size
    changed = (np.asarray(pasted) != np.asarray(astronaut)).any(2)
    quad = np.array(face.crop.quad)
    rows, columns = np.nonzero(changed)
    assert changed.mean() > 0.05
    assert columns.min() >= quad[:, 0].min() - 1
    assert rows.max() <= quad[:, 1].max() + 1


def test_paths_images_and_lists_are_the_same(model, face, astronaut, tmp_path):
    astronaut.save(tmp_path / "photo.png")
    transparent = astronaut.convert("RGBA")
    found = model.invert([tmp_path / "photo.png", str(tmp_path / "photo.png"), transparent], batch_size=2)
    for other in found:
        torch.testing.assert_close(other.w_plus, face.w_plus, rtol=1e-4, atol=1e-4)
    assert found[0].photo == tmp_path / "photo.png"
    assert found[0].paste_back().size == astronaut.size


def test_a_picture_lies_as_its_exif_says(model, face, astronaut, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    astronaut.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as opened:
        turned = model.invert(opened)
        assert turned.paste_back().size == ImageOps.exif_transpose(opened).size
    torch.testing.assert_close(turned.w_plus, face.w_plus, rtol=1e-4, atol=1e-4)


def test_any_size_without_alignment():
    model = tiny()
    pictures = [Image.new("RGB", size, (90, 120, 150)) for size in ((7, 5), (33, 64), (200, 100))]
    found = model.invert(pictures, align=False, batch_size=2)
    assert [face.image.size for face in found] == [(32, 32)] * 3
    for n, picture in enumerate(pictures):  # no result depends on the batch
        alone = model.invert(picture, align=False)
        torch.testing.assert_close(alone.w_plus, found[n].w_plus, rtol=1e-4, atol=1e-5)
    assert model.invert([], align=False) == []
    with pytest.raises(UserError, match="not cut out of a photo"):
        found[0].paste_back()


def test_without_a_face_it_says_what_to_do(model, tmp_path):
    with pytest.raises(UserError, match="no face was found in an image of 64 x 48 pixels: give align=False"):
        model.invert(Image.new("RGB", (64, 48)))
    with pytest.raises(ImageError, match="nowhere.jpg"):
        model.invert(tmp_path / "nowhere.jpg")


def test_edits_move_along_directions(smile_file):
    model = tiny()
    edited = Predictor(model.model, {}, directions=[smile_file])
    face = edited.invert(Image.new("RGB", (32, 32), (200, 100, 50)), align=False)
    assert sorted(edited.directions) == ["smile", "yaw"]
    moved = edited.edit(face, smile=2.0, yaw=-1)
    difference = moved.w_plus - face.w_plus  # [num_ws, w_dim]
    torch.testing.assert_close(difference[0, :3], torch.tensor([4.0, -3.0, 0.0]))
    assert difference[2:].abs().max() == 0
    assert moved.image.tobytes() != face.image.tobytes()
    assert edited.edit(edited.edit(face, smile=2.0), smile=-2.0).image.size == face.image.size
    assert [f.image.tobytes() for f in edited.edit([face, face], smile=2, yaw=-1)] == [moved.image.tobytes()] * 2
    with pytest.raises(UserError, match="there is no direction 'age'; there are smile, yaw"):
        edited.edit(face, age=1)


def test_an_edit_of_a_tuned_face_is_rendered_by_its_generator(smile_file):
    model = tiny()
    model = Predictor(model.model, {}, directions=[smile_file])
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    plain, tuned = model.invert(picture, align=False), model.invert(picture, align=False, pivotal=2)
    assert tuned.generator is not None
    assert tuned.generator is not model.model.generator
    torch.testing.assert_close(tuned.w_plus, plain.w_plus)
    assert model.edit(tuned, smile=1).image.tobytes() != model.edit(plain, smile=1).image.tobytes()
    refined = model.invert(picture, align=False, refine=3)
    assert not torch.equal(refined.w_plus, plain.w_plus)


def test_the_codes_of_an_edited_face_render_its_picture(smile_file):
    plain = tiny().model
    encoder = encoder_for(plain.generator, "light_feature")
    torch.nn.init.normal_(encoder.corrector.out.bias)  # the corrector of a new encoder answers with zeros
    model = Predictor(PSp(encoder, plain.generator), {}, directions=[smile_file])
    face = model.invert(model.generate(0, truncation_psi=1), align=False)
    for changed in (model.edit(face, smile=2), model.mix(face, model.edit(face, yaw=3), "coarse")):
        assert 0 < changed.features.norm() < 0.99 * face.features.norm()
        shown = to_uint8(model.model.decode(changed.codes))[0]
        assert np.abs(np.asarray(changed.image).astype(int) - shown).max() <= 1
    assert torch.equal(model.edit(face, smile=0).features, face.features)


def test_mixing_takes_rows(face, model):
    other = model.generate(5, truncation_psi=0.7)
    style = model.invert(other, align=False)
    mixed = model.mix(face, style, "coarse")
    same = (mixed.w_plus == face.w_plus).all(1)
    assert same.tolist() == [False] * 2 + [True] * 8
    with pytest.raises(UserError, match="no rows called 'hair'|hair"):
        model.mix(face, style, "hair")


def test_generated_images_belong_to_their_seeds(model):
    first, second = model.generate([3, 4])
    assert first.size == (64, 64)
    apart = np.asarray(model.generate(4), int) - np.asarray(second)
    assert np.abs(apart).max() <= 1  # whatever the company
    assert np.abs(np.asarray(first, int) - np.asarray(second)).mean() > 5


def test_translation_by_task(tmp_path):
    labels = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 5)
    segmentation = tiny(5, "segmentation")
    assert isinstance(segmentation.sources, LabelMaps)
    assert segmentation.translate(labels).size == (32, 32)
    several = segmentation.translate([labels, labels], outputs=3, rows="fine")
    assert [len(outputs) for outputs in several] == [3, 3]
    assert len({image.tobytes() for image in several[0]}) == 3
    with pytest.raises(ImageError, match="has label 7, but labels go from 0 to 4"):
        segmentation.translate(Image.new("L", (8, 8), 7))
    with pytest.raises(UserError, match="trained for segmentation"):
        segmentation.invert(labels)
    with pytest.raises(UserError, match="label maps, in which no faces can be found"):
        segmentation.translate(labels, align=True)


def test_a_hole_is_what_is_transparent():
    model = tiny(4, "inpainting")
    photo = Image.new("RGBA", (40, 40), (10, 200, 30, 255))
    whole = model.translate(photo, align=False)
    photo.paste((0, 0, 0, 0), (10, 10, 30, 30))
    assert model.translate(photo, align=False).tobytes() != whole.tobytes()


def test_photos_are_drawn_for_a_model_of_drawings(astronaut):
    model = tiny(1, "sketch")
    assert model.translate(astronaut, align=False).size == (32, 32)


def test_no_gradient_is_kept(model, astronaut):
    assert not any(parameter.requires_grad for parameter in model.model.parameters())


def test_what_can_be_loaded(tmp_path):
    model = tiny()
    psp.save_model(tmp_path / "own.safetensors", model.model, {"task": "inversion"})
    loaded = psp.load(tmp_path / "own.safetensors", device="cpu")
    assert (loaded.task, loaded.resolution, loaded.device.type) == ("inversion", 32, "cpu")
    with pytest.raises(UserError, match="synthfaces64_inversion") as refused:
        psp.load("synthfaces64_inversio", device="cpu")
    assert "portraits64," not in str(refused.value)  # a generator, which this cannot load
    assert "segmenter" not in str(refused.value)
    with pytest.raises(CheckpointError, match="not of a pSp model"):
        psp.load("stylegan2/pretrained/synthfaces64.safetensors")
    with pytest.raises(UserError, match="device 'tpu'"):
        psp.load("synthfaces64_inversion", device="tpu")
    assert isinstance(loading.load(tmp_path / "own.safetensors")[0], PSp)


def test_every_face_of_a_photo_can_be_chosen(model, astronaut, face):
    photo = Image.new("RGB", (1024, 512), "gray")
    photo.paste(astronaut)
    photo.paste(astronaut.resize((400, 400)), (600, 50))
    crops = psp.find_faces(photo)
    assert len(crops) == 2
    assert crops[0].side > crops[1].side  # the largest first
    largest, smaller = (model.invert(photo, crop=crop) for crop in crops)
    torch.testing.assert_close(largest.w_plus, face.w_plus, rtol=0.1, atol=0.3)
    assert np.array(smaller.crop.quad)[:, 0].min() > 600
    changed = (np.asarray(smaller.paste_back()) != np.asarray(photo)).any(2)
    assert not changed[:, :512].any()
    assert np.asarray(model.translate(photo, crop=crops[1])).shape == (64, 64, 3)
    assert psp.find_faces(Image.new("RGB", (300, 300), "gray")) == []
    with pytest.raises(UserError, match="a crop needs exactly one picture, not 2"):
        model.translate([photo, photo], crop=crops[0])
