"""The training scripts as a user runs them: generator, encoder, evaluation, and every kind of mistake."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import stylegan2
from psp import loading
from stylegan2.networks.registry import GENERATORS
from stylegan2.runtime import checkpoint
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.images import read_image, write_image
from tests.forks import PROGRAMS

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
NAMES = sorted(path.name for path in SCRIPTS.glob("[!_]*.py"))
TINY = [
    "--z_dim",
    "8",
    "--w_dim",
    "8",
    "--channel_base",
    "128",
    "--channel_max",
    "8",
    "--mapping_layers",
    "2",
    "--device",
    "cpu",
]
GAN = ["--resolution", 16, "--batch_size", 4, "--save_interval", 8, "--log_interval", 4, "--image_interval", 8, *TINY]
ENCODER = [
    "--device",
    "cpu",
    "--workers",
    "0",
    "--batch_size",
    "2",
    "--test_batch_size",
    "2",
    "--board_interval",
    "1",
    "--val_interval",
    "2",
]
MEASURES = ["--perceptual", "effnet", "--identity", "dlib"]


pytestmark = pytest.mark.usefixtures("own_process")


def write_pictures(path, count=6):
    colours = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), np.uint8)
    shade = np.linspace(0, 1, 40)[:, None, None]
    for n, colour in enumerate(colours):
        write_image(path / f"{n}.png", np.broadcast_to(colour * shade, (40, 40, 3)).astype(np.uint8))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def gan(tmp_path_factory, pictures):
    """A generator trained from another folder, in an environment that has Hugging Face's package `datasets`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "site" / "datasets").mkdir(parents=True)
    (folder / "site" / "datasets" / "__init__.py").write_text("raise RuntimeError('this is Hugging Face datasets')")
    command = [sys.executable, SCRIPTS / "train_stylegan2.py", "--data", pictures, "--exp_dir", "gan", "--mirror"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "OMP_NUM_THREADS": "1"}
    shadowed = subprocess.run([sys.executable, "-c", "import datasets"], env=environment, cwd=folder, check=False,
                              capture_output=True, text=True, timeout=120)  # fmt: skip
    assert "this is Hugging Face datasets" in shadowed.stderr
    done = subprocess.run([*map(str, command), *map(str, GAN), "--total_nimg", "12"], cwd=folder, env=environment,
                          check=False, capture_output=True, text=True, timeout=250)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"6 images of {pictures} at 16 px, on cpu" in done.stdout
    assert "done: gan/checkpoints/network-000000012.safetensors" in done.stdout
    return folder / "gan"


NO_FOLDER = (
    "doctor.py",
    "download.py",
    "models.py",
    "export.py",
    "export_onnx.py",
    "blend.py",
    "convert.py",
    "evaluate_generator.py",
    "prepare_data.py",
    "web.py",
)


@pytest.mark.parametrize("name", NAMES)
def test_help(script, name):
    code, out, _ = script(name, "--help")
    assert code == 0
    assert "--exp_dir" in out or name in NO_FOLDER
    assert "usage" in out.lower()


def test_a_generator_is_trained(gan):
    names = sorted(path.name for path in gan.iterdir() if path.name != ".lock")
    assert names == ["checkpoints", "config.yaml", "logs", "metrics.jsonl", "samples"]
    lines = [json.loads(line) for line in (gan / "metrics.jsonl").read_text().splitlines()]
    assert [line["cur_nimg"] for line in lines] == [4, 8, 12]
    assert read_image(gan / "samples" / "000000008.png").shape == (128, 128, 3)
    generator, metadata = stylegan2.load(gan)
    assert (generator.img_resolution, generator.w_dim, metadata["cur_nimg"]) == (16, 8, 12)


def test_the_same_command_goes_on(script, gan, pictures, tmp_path):
    arguments = ["--data", pictures, "--mirror", "--workers", 0, *GAN]
    assert script("train_stylegan2.py", *arguments, "--exp_dir", "run", "--total_nimg", 8)[0] == 0
    code, out, _ = script("train_stylegan2.py", *arguments, "--exp_dir", "run", "--total_nimg", 12)
    assert code == 0
    assert "resuming from network-000000008.safetensors at 8 images" in out
    paths = [folder / "checkpoints" / "network-000000012.safetensors" for folder in (tmp_path / "run", gan)]
    (tensors, _), (expected, _) = map(checkpoint.read, paths)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_generator_is_measured_in_training(script, pictures, tmp_path):
    arguments = ["--data", pictures, "--workers", 0, *GAN, "--exp_dir", "run", "--total_nimg", 8]
    measured = ["--metrics", "fd_effnet", "--metrics_samples", 8, "--metrics_interval", 4]
    code, out, _ = script("train_stylegan2.py", *arguments, *measured)
    assert code == 0
    assert out.count(" images: fd_effnet ") == 2
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    values = [line["metrics/fd_effnet"] for line in lines if "metrics/fd_effnet" in line]
    _, metadata = checkpoint.read(tmp_path / "run" / "checkpoints" / "best_model.safetensors")
    assert (metadata["best_metric"], metadata["cur_nimg"]) == (min(values), 4 * (1 + values.index(min(values))))
    code, _, err = script("train_stylegan2.py", *arguments, "--metrics", "precision_recall")
    assert (code, err.count("\n")) == (2, 1)
    assert "precision_recall cannot be measured during training: choose from fd_effnet, fd_dlib" in err


def test_an_encoder_is_trained_and_resumed(script, gan, pictures, tmp_path):
    arguments = [
        "--data",
        pictures,
        "--stylegan_weights",
        gan,
        "--exp_dir",
        "encoder",
        *ENCODER,
        *MEASURES,
        "--id_lambda",
        0.1,
    ]
    with pytest.warns(UserWarning, match="identity is measured on 16 px images"):
        code, out, _ = script("train_psp.py", *arguments, "--max_steps", 1)
    assert code == 0
    assert f"5 images of {pictures} for training, 1 held out; on cpu" in out
    code, out, _ = script("train_psp.py", *arguments, "--max_steps", 3)
    assert code == 0
    assert "resuming from iteration-000000001.safetensors at step 1" in out
    lines = [json.loads(line) for line in (tmp_path / "encoder" / "metrics.jsonl").read_text().splitlines()]
    assert [line["cur_step"] for line in lines] == [1, 1, 2, 2, 3, 3]
    assert {"train/loss_perceptual", "train/similarity_id"} <= lines[0].keys()
    assert {"val/perceptual", "val/identity", "val/mse"} <= lines[1].keys()
    model, metadata = loading.load("encoder")
    assert (metadata["cur_step"], metadata["task"], model.encoder.input_size) == (3, "inversion", 32)
    assert torch.equal(model.generator.synthesis.const, stylegan2.load(gan)[0].synthesis.const)

    start = ["--checkpoint_path", tmp_path / "encoder", *ENCODER, "--max_steps", 1, "--lpips_lambda", 0, *MEASURES]
    common = ["--data", pictures, "--stylegan_weights", gan, "--id_lambda", 0]
    assert script("train_psp.py", *common, *start, "--exp_dir", "second", "--learning_rate", 1e-12)[0] == 0
    started = loading.load("second")[0].encoder.get_parameter("styles.0.linear.weight")
    torch.testing.assert_close(started, model.encoder.get_parameter("styles.0.linear.weight"))

    code, _, err = script("train_psp.py", *common, *start, "--exp_dir", "third", "--encoder_type", "gradual")
    assert code == 2
    assert "has an encoder light, but gradual was requested" in err
    assert err.count("\n") == 1


def test_another_task_goes_on_without_the_conjugate_gradients_of_an_inversion(script, pictures):
    losses = [
        "--lpips_lambda",
        0,
        "--id_lambda",
        0,
        *MEASURES,
        "--test_batch_size",
        2,
        "--batch_size",
        2,
        "--workers",
        0,
    ]
    flags = ["--checkpoint_path", "portraits64_inversion", "--data", pictures, "--max_steps", 1, *losses]
    for task, steps in (("super_resolution", 0), ("inversion", 24)):
        code, _, err = script("train_psp.py", "--task", task, *flags, "--exp_dir", task)
        assert code == 0, err
        assert loading.load(task)[0].conjugate_steps == steps


def test_a_training_that_explodes_stops_and_keeps_its_checkpoint(script, gan, pictures):
    """Both loops: a learning rate beyond all measure after a good start."""
    explode = ["--learning_rate", 1e30, "--max_nonfinite_steps", 3]
    arguments = ["--data", pictures, "--workers", 0, *GAN, "--exp_dir", "generator"]
    assert script("train_stylegan2.py", *arguments, "--total_nimg", 4)[0] == 0
    assert_stops(script("train_stylegan2.py", *arguments, *explode, "--total_nimg", 400), "generator")

    losses = ["--lpips_lambda", 0, "--id_lambda", 0, *MEASURES, "--optim_name", "adam", "--val_interval", 100]
    arguments = ["--data", pictures, "--stylegan_weights", gan, "--exp_dir", "encoder", *ENCODER, *losses]
    with pytest.warns(UserWarning, match="identity is measured on 16 px images"):
        started = script("train_psp.py", *arguments, "--max_steps", 1)
    assert started[0] == 0
    assert_stops(script("train_psp.py", *arguments, *explode, "--max_steps", 100), "encoder")


def assert_stops(ended, folder):
    code, out, err = ended
    (good,) = Path(folder).glob("checkpoints/*-*.safetensors")
    checkpoint.read(good)
    assert code == 2
    sentence = err.splitlines()[-1]
    assert re.match(r"error: training stops because .*loss.* was NaN or infinite in 3 steps in a row: lower ", sentence)
    assert f"the same command resumes from the last good checkpoint, {str(good)!r}" in sentence
    assert "Traceback" not in err
    assert out.count("a step was skipped") == 1


MISTAKES = [
    ("train_stylegan2.py", "--resolutoin 64", "there is no option --resolutoin: did you mean --resolution?"),
    ("train_stylegan2.py", "--preset paper265", "there is no preset 'paper265': choose one of tiny-cpu, "),
    ("train_stylegan2.py", "--resolution 48", "the resolution must be a power of two from 8 to 4096, not 48"),
    ("train_stylegan2.py", "--resolution big", "--resolution"),
    ("train_stylegan2.py", "--data nowhere", "there is no folder or zip file 'nowhere'"),
    ("train_stylegan2.py", "--channels 2", "not 2"),
    ("train_stylegan2.py", "--channels 1", "procedural faces have 3 channels, not 1"),
    ("train_stylegan2.py", "--channel_base 32", "--channel_base must be at least the resolution, 64, not 32"),
    ("train_stylegan2.py", "--w_dim 0", "--w_dim must be at least 1, not 0"),
    ("train_stylegan2.py", "--d_architecture resnet", "there is no architecture 'resnet'"),
    ("train_stylegan2.py", "--batch_size 0", "--batch_size must be at least 1, not 0"),
    ("train_stylegan2.py", "--seed -1", "--seed must not be negative, but is -1"),
    ("train_stylegan2.py", "--workers -1", "--workers must be from 0 to 1024, not -1"),
    ("train_stylegan2.py", "--device tpu", "device 'tpu' is not available here"),
    ("train_psp.py", "--lerning_rate 1", "there is no option --lerning_rate: did you mean --learning_rate?"),
    ("train_psp.py", "--preset fast", "there is no preset 'fast': choose one of "),
    ("train_psp.py", "--task toonifi", "there is no task called 'toonifi'"),
    ("train_psp.py", "--label_nc 5", "the task inversion has no setting --label_nc: it has none"),
    ("train_psp.py", "--task segmentation --label_nc 1", "--label_nc must be a number from 2 to 256, not 1"),
    (
        "train_psp.py",
        "--task super_resolution --resize_factors 1;2",
        "whole numbers separated by commas, not '1;2'",
    ),
    ("train_psp.py", "--task inpainting --mask_kinds boxes", "there is no mask kind boxes; there are rectangles, "),
    ("train_psp.py", "--task inpainting --mask_data nowhere", "there is no folder or zip file 'nowhere'"),
    ("blend.py", "--base nowhere --style nowhere --out x.safetensors", "there is no generator 'nowhere'"),
    ("blend.py", "--base a --style b --out x.pt", "--out must end in .safetensors, not 'x.pt'"),
    ("blend.py", "--base a", "--style and --out must be given"),
    ("train_psp.py", "--optim_name sgd", "--optim_name must be ranger or adam, not 'sgd'"),
    ("train_psp.py", "--stylegan_weights nowhere", "there is no generator 'nowhere'"),
    ("train_psp.py", "--workers -1", "--workers must be from 0 to 1024, not -1"),
    ("evaluate.py", "--checkpoint_path nowhere", "there is no pSp model 'nowhere'"),
    ("evaluate.py", "--num_images 0", "--num_images must be at least 1, not 0"),
    ("evaluate.py", "--seed -1", "--seed must not be negative, but is -1"),
    ("evaluate.py", "--refine_steps -1", "--refine_steps must not be negative, but is -1"),
    ("evaluate.py", "--n_outputs 1", "--n_outputs must be 0 or at least 2, not 1"),
    ("evaluate.py", "--checkpoint_path mine=", "--checkpoint_path must be paths or NAME=PATH, not 'mine='"),
    ("evaluate.py", "--checkpoint_path a=nowhere", "there is no pSp model 'nowhere'"),
    ("evaluate.py", "--data nowhere", "there is no folder or zip file 'nowhere'"),
    ("evaluate.py", "--source_data nowhere", "give --source_data only for images of your own"),
    ("evaluate.py", "--num_images 60000", "--num_images is 60000, but synthetic has only 50000 images"),
    ("train_segmenter.py", "--max_steps 0", "--max_steps must be at least 1, not 0"),
    ("train_segmenter.py", "--resolution 60", "cannot halve 60 px that often"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), MISTAKES, ids=lambda value: str(value)[:30])
def test_a_mistake_is_one_sentence_at_once(script, tmp_path, name, arguments, words):
    started = time.process_time()
    code, _, err = script(name, *arguments.split())
    assert time.process_time() - started < 2
    assert code == 2
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


TASKS = {"segmentation": ("--label_nc", 3), "sketch": (), "inpainting": ("--mask_kinds", "halves")}


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_task_is_trained_and_its_checkpoint_reads_its_own_sources(script, gan, pictures, tmp_path, task):
    maps = tmp_path / "maps"
    for path in pictures.iterdir():
        write_image(maps / path.name, np.eye(40, dtype=np.uint8) * (2 if task == "segmentation" else 255))
    paired = ["--source_data", maps] if task != "inpainting" else []
    losses = ["--lpips_lambda", 0, "--id_lambda", 0, *MEASURES]
    arguments = [
        "--task",
        task,
        "--data",
        pictures,
        *paired,
        "--stylegan_weights",
        gan,
        *ENCODER,
        *losses,
        *TASKS[task],
    ]
    with pytest.warns(UserWarning, match="identity is measured on 16 px images"):
        code, out, err = script("train_psp.py", *arguments, "--max_steps", 2, "--exp_dir", "run", "--augment")
    assert code == 0, err
    assert read_image("run/pairs.png").shape[1] == 8 * 128
    _, metadata = loading.load("run")
    assert metadata["task"] == task
    assert script("train_psp.py", *arguments, "--max_steps", 3, "--exp_dir", "run", "--augment")[0] == 0

    files = ["--data_path", maps if task == "segmentation" else pictures, "--exp_dir", "out", "--no_align"]
    code, out, err = script("inference.py", *files, "--checkpoint_path", "run", "--device", "cpu")
    assert code == 0, err
    assert len(list(Path("out/inference_results").iterdir())) == 6
    assert "6 of 6 files gave 6 images" in out


def test_layers_of_two_generators_are_swapped(script, gan):
    code, out, _ = script("blend.py", "--base", gan, "--style", gan, "--swap_from", 8, "--out", "blend.safetensors")
    assert code == 0
    assert "written: blend.safetensors and blend.png (base | style | blend)" in out
    assert read_image("blend.png").shape[1:] == (3 * 16, 3)  # below a line of titles
    blended, metadata = stylegan2.load("blend.safetensors")
    assert metadata["blend"] == {"swap_from": 8, "ramp": 0}
    assert torch.equal(blended.synthesis.const, stylegan2.load(gan)[0].synthesis.const)


def test_data_for_the_encoder_that_are_not_there(script, gan):
    code, _, err = script("train_psp.py", "--stylegan_weights", gan, "--data", "nowhere")
    assert (code, err) == (2, "error: there is no folder or zip file 'nowhere'\n")


def test_an_experiment_folder_that_is_a_file(script, pictures, tmp_path):
    (tmp_path / "run").write_text("")
    code, _, err = script("train_stylegan2.py", "--data", pictures, *GAN, "--workers", 0, "--exp_dir", "run")
    assert code == 2
    assert "'run' is a file, not a folder" in err


def start_training(folder, data, *arguments):
    command = [SCRIPTS / "train_stylegan2.py", "--data", data, "--exp_dir", folder, *GAN, "--workers", 2, *arguments]
    return PROGRAMS.popen(command, new_session=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="workers tell their parent's signals from others on Linux only")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_all_processes_of_a_job_saves_and_ends(pictures, tmp_path, signum, code):
    process = start_training(tmp_path / "run", pictures, "--save_interval", 4)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("run/checkpoints/network-*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert "stopping after this step and saving" in err
    assert "Traceback" not in err
    assert checkpoint.newest(tmp_path / "run")[2]["cur_nimg"] >= 4


@pytest.mark.slow
def test_bad_data_found_by_a_worker_end_the_training(tmp_path):
    for n in range(6):
        (tmp_path / f"{n}.png").write_text("not an image")
    process = start_training(tmp_path / "run", tmp_path)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 2
    assert f"error: 2 of 6 images of {tmp_path} cannot be read" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "flags", "networks"),
    [
        ("train_psp.py", ["--batch_size", 2, "--test_batch_size", 2, "--max_steps", 10], "encoder 4.09 million"),
        ("train_stylegan2.py", [*GAN, "--resolution", 32], "parameters: G "),
    ],
)
def test_a_dry_run_says_what_a_training_needs_and_writes_nothing(script, name, flags, networks):
    code, out, err = script(name, *flags, "--device", "cpu", "--dry_run", "--workers", 0)
    assert (code, err) == (0, "")
    assert yaml.safe_load(out[out.index("device: cpu\n") : out.index("parameters: ")])["batch_size"] in (2, 4)
    assert networks in out
    assert re.search(r"^memory: [\d.]+ GB at most$", out, re.MULTILINE)
    assert re.search(r"^time: about .+ at [\d.]+ img/s", out, re.MULTILINE)
    assert not Path("runs").exists()


def test_settings_of_a_run_repeat_it(script, gan):
    flags = ["--config", gan / "config.yaml", "--exp_dir", "again"]
    assert script("train_stylegan2.py", *flags)[0] == 0
    first, again = (stylegan2.load(folder)[0].state_dict() for folder in (gan, "again"))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    config = yaml.safe_load(Path("again/config.yaml").read_text())
    assert "--config" in config["runs"][0]["command_line"]
    board = EventAccumulator("again/logs").Reload()
    assert b"total_nimg: 12" in board.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_what_shows_no_face_is_not_compared_by_a_network_that_knows_people(script, pictures):
    print_once.cache_clear()
    flags = ["--data", pictures, "--max_steps", 1, "--exp_dir", "run", *ENCODER]
    code, out, err = script("train_psp.py", *flags)
    assert code == 0, err
    assert "no face was found in 12 of the images, so identities are not compared (id_lambda 0)" in out
    assert "loss_id" not in Path("run/metrics.jsonl").read_text()
    assert script("train_psp.py", *flags[: -len(ENCODER) - 1], "asked", *ENCODER, "--id_lambda", 0.1)[0] == 0
    assert "loss_id" in Path("asked/metrics.jsonl").read_text()


def test_samples_of_a_training_on_vectors_have_those_of_the_data(script, tmp_path):
    vectors = [[i % 2, i / 8] for i in range(8)]
    for i in range(8):
        write_image(tmp_path / "d" / f"{i}.png", np.random.default_rng(i).integers(0, 255, (16, 16, 3), np.uint8))
    labels = {"labels": [[f"{i}.png", vector] for i, vector in enumerate(vectors)]}
    (tmp_path / "d" / "dataset.json").write_text(json.dumps(labels))
    flags = ["--data", "d", "--conditional", "--exp_dir", "run", "--total_nimg", 4, "--workers", 0, *GAN]
    assert script("train_stylegan2.py", *flags)[0] == 0
    generator, _ = stylegan2.load("run")
    assert sorted(generator.label_rows.tolist()) == sorted(vectors)
    assert script("generate.py", "samples", "--generator", "run", "--seeds", "0-3", "--exp_dir", "out")[0] == 0


@pytest.mark.parametrize("channels", [1, 4])
def test_encoders_of_gray_and_of_transparent_images_from_end_to_end(script, tmp_path, channels):
    for i in range(4):
        shape = (32, 32, channels) if channels > 1 else (32, 32)
        write_image(tmp_path / "d" / f"{i}.png", np.random.default_rng(i).integers(0, 255, shape, np.uint8))
    sizes = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 8, "mapping_layers": 1}
    generator = GENERATORS.build("stylegan2", 32, img_channels=channels, **sizes)
    stylegan2.save_generator(tmp_path / "g.safetensors", generator, {})
    flags = ["--data", "d", "--stylegan_weights", "g.safetensors", "--encoder_type", "light", "--max_steps", 2]
    losses = ["--id_lambda", 0.1, "--perceptual", "effnet", "--identity", "dlib", "--generated_share", 0.5]
    code, _, err = script("train_psp.py", *flags, *losses, "--exp_dir", "run", *ENCODER)
    assert code == 0, err
    given = ["--data_path", "d", "--checkpoint_path", "run", "--no_align", "--exp_dir", "out", "--device", "cpu"]
    code, _, err = script("inference.py", *given, "--refine", 2, "--pivotal", 2)
    assert code == 0, err
    assert read_image("out/inference_results/0.png", "rgba" if channels == 4 else "gray").shape == (32, 32, channels)
    measured = ["--checkpoint_path", "run", "--data", "d", "--optimisation_steps", 1, "--refine_steps", 1, *MEASURES]
    code, _, err = script("evaluate.py", *measured, "--exp_dir", "measured", "--device", "cpu")
    assert code == 0, err
