"""Train a pSp encoder: python scripts/train_psp.py --task inversion [--data FOLDER] [--stylegan_weights FILE]"""

import _start  # noqa: F401

# isort: split

from itertools import islice

import torch
from torch import nn

import stylegan2
from datasets.examination import any_face
from datasets.examples import Example, Indexed
from datasets.loader import fixed_batches, stream_batches, write_sheet
from datasets.sources import SYNTHETIC, open_split, sampler_of
from datasets.tasks import build_task
from datasets.training_data import TaskPairs
from options.commands.train_psp import PRESETS, SHIPPED, TrainPSp
from options.losses import loss_arguments, loss_lambdas
from options.parse import run
from options.results import label, record_for, with_folder
from options.tasks import given_settings
from psp.dry_run import estimate
from psp.encoders import ENCODERS, encoder_for, upgraded, without_conjugate_steps
from psp.encoders.irse import start_trunk
from psp.evaluation.metrics import build_metrics
from psp.loading import load_for, model_metadata
from psp.losses import build_losses
from psp.model import LOSS_SIZE, PSp
from psp.trainer import train
from stylegan2.networks.protocols import Generator
from stylegan2.runtime import checkpoint, distributed
from stylegan2.runtime.bounded import reading
from stylegan2.runtime.distributed import print_once
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.estimate import parameter_counts
from stylegan2.runtime.randomness import seed_step
from stylegan2.runtime.registry import built_as

WRITES = ("checkpoints", "logs", "metrics.jsonl", "pairs.png")
SEARCHED = 12  # number of images that are searched for faces


def build_model(o: TrainPSp, source_channels: int) -> PSp:
    """Build the model to train, from a checkpoint or with a new encoder for `source_channels` channels."""
    seed_step(o.training.seed, 0, 0)
    start = None
    if o.checkpoint_path is not None:
        start = load_for(o.checkpoint_path, o.encoder_type, source_channels)
        if o.stylegan_weights is None:
            return start
    generator, _ = stylegan2.load(o.stylegan_weights or SHIPPED)
    encoder = start.encoder if start else new_encoder(o, generator, source_channels)
    if o.trunk_weights is not None:
        start_trunk(encoder, o.trunk_weights)
    return PSp(encoder, generator, None if o.start_from_latent_avg else torch.zeros_like(generator.w_avg))


def new_encoder(o: TrainPSp, generator: Generator, source_channels: int) -> nn.Module:
    """Build the encoder of the type that the settings name.

    If a run is resumed, the encoder has the stored settings, even if the defaults have changed since.
    """
    encoder, newest = encoder_for(generator, o.encoder_type, source_channels), checkpoint.newest(o.folder)
    if newest is None or "encoder" not in newest[2]:
        return encoder
    with reading(newest[0], "a model"):
        stored, new = ENCODERS.checked(upgraded(newest[2]["encoder"])), built_as(encoder)
    asked = ("name", "num_ws", "w_dim", "input_channels", "input_size")
    same = all(stored.get(setting) == new.get(setting) for setting in asked)
    return ENCODERS.build(**stored) if same else encoder  # the trainer refuses to resume with another encoder


def lambdas_for(o: TrainPSp, defaults: dict[str, float], examples: Indexed[Example]) -> dict[str, float]:
    """Return the weights of the losses: the defaults of task and encoder, replaced by those of the user.

    The identity loss has the weight 0 if some of the training images were searched for faces and show none, unless the
    user gave its weight.
    """
    lambdas = loss_lambdas(o.losses, defaults)
    if o.losses.id_lambda is not None or o.data == SYNTHETIC or not lambdas.get("id"):
        return lambdas
    first = islice(sampler_of(examples)(len(examples), o.training.seed), min(SEARCHED, len(examples)))
    if any_face([examples[index].target for index, _ in first]):
        return lambdas
    print_once(f"no face was found in {SEARCHED} of the images, so identities are not compared (id_lambda 0)")
    return {**lambdas, "id": 0.0}


def main(o: TrainPSp) -> None:
    device = distributed.setup(o.prepare(), o.process_timeout)
    o = with_folder(o, f"{o.task}-{label(o.stylegan_weights or o.checkpoint_path or SHIPPED)}")
    record = record_for(o, "train_psp", writes=WRITES, fixed=("task",), marks=WRITES[:1])
    task = build_task(o.task, **given_settings(o.task_settings, "training"))
    if o.training.generated_share and o.task != "inversion":
        raise UserError("generated_share is for the task inversion, whose source is the image itself")
    model = build_model(o, task.source_channels)
    if not task.inverts:
        model.encoder = without_conjugate_steps(model.encoder)
    target_size = min(LOSS_SIZE, model.generator.img_resolution)
    sizes = (model.encoder.input_size, target_size)

    seed = o.training.seed
    examples, held_out = open_split(task, o.data, max(sizes), o.source_data, o.test_data, o.test_source_data)
    pairs = TaskPairs(examples, task, *sizes, seed, o.augment)
    print(f"{len(pairs):,} images of {o.data} for training, {len(held_out):,} held out; on {device}")
    arguments = loss_arguments(o.losses)
    lambdas = lambdas_for(o, {**task.lambdas, **model.encoder.default_lambdas}, examples)
    losses = build_losses(lambdas, **arguments)
    metrics = build_metrics(perceptual=arguments["perceptual"], id=arguments["id"])
    batches = stream_batches(pairs, len(pairs), o.training.batch_size, seed, o.workers, sampler_of(examples))
    if o.dry_run:
        needs = estimate(model, losses, batches, o.training, device)
        print(record.text + parameter_counts(encoder=model.encoder, generator=model.generator))
        print("\n".join(needs.lines(o.training.max_steps * o.training.batch_size)))
        return
    notes = {"config": record.write()}
    if distributed.is_first():
        write_sheet(pairs, o.folder / "pairs.png", sampler_of(examples))
    description = {
        "task": o.task,
        **({"task_settings": task.config} if task.config else {}),
        **model_metadata(model),
    }
    last = train(
        model=model,
        losses=losses,
        batches=batches,
        held_out=fixed_batches(TaskPairs(held_out, task, *sizes, seed), o.training.test_batch_size),
        metrics=metrics,
        show_source=task.show_source,
        description=description,
        run_dir=o.folder,
        settings=o.training,
        device=device,
        notes=notes,
    )
    print(f"done: {last}")


if __name__ == "__main__":
    run(main, TrainPSp, PRESETS, shares=True)
