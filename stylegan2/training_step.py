"""One step of GAN training, which reads top to bottom like the paper, and its parts."""

import math
from collections import defaultdict

import torch
from torch import Tensor

from stylegan2 import losses, schedule
from stylegan2.augment import PIPELINES, augment, observe
from stylegan2.networks.growing import fade_real, growth_of
from stylegan2.networks.protocols import Discriminator, Generator
from stylegan2.networks.sizes import num_ws_at
from stylegan2.runtime import distributed
from stylegan2.runtime.estimate import kept_bytes
from stylegan2.runtime.guard import Guard
from stylegan2.runtime.module import Module
from stylegan2.runtime.randomness import draw_shard, normal_like, rehearsal, rounds
from stylegan2.runtime.stats import Averages
from stylegan2.training_settings import TrainingSettings
from stylegan2.training_state import TrainingState, number_of_rounds, path_length_batch

PATH_LENGTH_DECAY = 0.01


def step(
    state: TrainingState,
    real: Tensor,
    labels: Tensor | None = None,
    *,
    settings: TrainingSettings,
    r1_gamma: float,
    averages: Averages,
    guard: Guard,
) -> None:
    """Take one training step: D, R1, G, path length, moving average. Nothing in it waits for the device.

    A phase handles its batch in rounds of at most `settings.batch_gpu` images, whose gradients add up. Once a loss or a
    gradient is NaN or infinite, no optimizer steps any more, and the step counts as skipped.

    Args:
        state: The state, which is changed in place.
        real: Images [N, C, R, R] in [-1, 1]; with several processes, the share of this one.
        labels: Classes of the images, int64 [N], which fakes get too, so that both have the same distribution.
        settings: Settings of the training.
        r1_gamma: Weight of R1.
        averages: Collects the values that are logged.
        guard: The guard that surrounds this step (`with guard.step():`).
    """
    s, G, D, device = settings, state.G, state.D, real.device
    n, batch = len(real), len(real) * distributed.world_size()
    start, state.cur_nimg = state.cur_nimg, state.cur_nimg + batch
    stage = s.stage(start, G.img_resolution)
    real = fade_real(real, *stage)  # [N, C, r, r], r = R where nothing grows
    count = number_of_rounds(n, s.batch_gpu, math.gcd(batch, D.mbstd_group))
    seen: defaultdict[str, list[Tensor]] = defaultdict(list)  # values that are logged

    # D: separate fakes from reals, both in one pass.
    terms, w = [], []  # for each round, its part of the loss and the w that it drew
    state.opt_D.zero_grad(set_to_none=True)
    for k in rounds(count, device):
        # The images and labels of this round, [M, C, r, r] and [M]; M = N if there is one round.
        images, classes = real[k::count], labels_of_round(labels, k, count)
        with torch.no_grad():
            fake, ws = run_G(G, len(images), classes, stage, s)  # [M, C, r, r], [M, num_ws, w_dim]
        both, twice = torch.cat([fake, images]), None if classes is None else torch.cat([classes, classes])
        fake_logits, real_logits = run_D(D, both, twice, stage, s, state.control.p, parts=2).chunk(2)  # [M, 1] each
        loss = losses.D_LOSSES[s.loss](fake_logits, real_logits)  # [M]
        seen["loss/D"].append(loss.detach())
        if s.loss == "wgan":
            between = losses.interpolate(fake, images)  # [M, C, r, r]
            penalty = losses.gradient_penalty(run_D(D, between, classes, stage, s, state.control.p), between)  # [M]
            loss = loss + s.gradient_penalty * penalty + s.drift * losses.drift(real_logits)
            seen["loss/gradient_penalty"].append(penalty.detach())
        elif s.r1_interval and not s.lazy_r1:
            images = images.detach().requires_grad_(True)
            penalty = losses.r1(run_D(D, images, classes, stage, s, state.control.p), images)  # [M]
            loss = loss + r1_gamma / 2 * penalty
            seen["loss/r1"].append(penalty.detach())
        terms.append(accumulate(loss, n))
        w.append(ws[:, 0].detach())
        seen["logits/sign_real"].append(real_logits.detach().sign())
        seen["logits/sign_fake"].append(fake_logits.detach().sign())
    track_w_avg(G, w, s.freeze_synthesis)
    update(state.opt_D, "loss_D", terms, guard)

    # D: R1, lazily.
    if schedule.is_due(start, batch, s.lazy_r1_interval):
        terms = []
        state.opt_D.zero_grad(set_to_none=True)
        for k in rounds(count, device):
            images, classes = real[k::count].detach().requires_grad_(True), labels_of_round(labels, k, count)
            penalty = losses.r1(run_D(D, images, classes, stage, s, state.control.p), images)  # [M]
            terms.append(accumulate(penalty * (r1_gamma / 2 * s.r1_interval), n))
            seen["loss/r1"].append(penalty.detach())
        update(state.opt_D, "r1", terms, guard)

    # G: make D take fakes for real. D is frozen, which saves the gradients of its weights.
    terms, w = [], []
    set_requires_grad(state.opt_D, False)
    state.opt_G.zero_grad(set_to_none=True)
    for k in rounds(count, device):
        classes = labels_of_round(labels, k, count)
        fake, ws = run_G(G, n // count, classes, stage, s)  # [M, C, r, r], [M, num_ws, w_dim]
        loss = losses.G_LOSSES[s.loss](run_D(D, fake, classes, stage, s, state.control.p))  # [M]
        terms.append(accumulate(loss, n))
        seen["loss/G"].append(loss.detach())
        w.append(ws[:, 0].detach())
    set_requires_grad(state.opt_D, True)
    track_w_avg(G, w, s.freeze_synthesis)
    update(state.opt_G, "loss_G", terms, guard)

    # G: path length, lazily, on half the batch.
    if schedule.is_due(start, batch, s.path_length_interval):
        terms, w = [], []
        state.opt_G.zero_grad(set_to_none=True)
        half = path_length_batch(batch) // distributed.world_size()
        count = number_of_rounds(half, s.batch_gpu)
        if count > 1:  # the mean is over the lengths of all rounds, so they are computed before the first gradient
            all_lengths = []
            with rehearsal(device):
                for k in rounds(count, device):
                    fake, ws = run_G(G, half // count, labels_of_round(labels, k, count, half), stage, s)
                    all_lengths.append(losses.path_lengths(fake, ws, create_graph=False))  # [M]
            track_path_length(state.path_length_mean, all_lengths)
        for k in rounds(count, device):
            fake, ws = run_G(G, half // count, labels_of_round(labels, k, count, half), stage, s)
            lengths = losses.path_lengths(fake, ws)  # [M]
            if count == 1:
                track_path_length(state.path_length_mean, [lengths])
            penalty = (lengths - state.path_length_mean).square()  # [M]
            terms.append(accumulate(penalty * (s.path_length_weight * s.path_length_interval), half))
            seen["path_length/length"].append(lengths.detach())
            seen["path_length/penalty"].append(penalty.detach())
            w.append(ws[:, 0].detach())
        track_w_avg(G, w, s.freeze_synthesis)
        update(state.opt_G, "path_length", terms, guard)

    # Adaptive augmentation: observe how well D knows the real images.
    if s.adapts:
        sign = distributed.all_reduce_mean(torch.cat(seen["logits/sign_real"]).mean())  # []
        state.control = observe(state.control, sign, batch, guard.found_inf)

    # Moving average of G.
    update_ema(
        state.G_ema, G, schedule.ema_decay(state.cur_nimg, batch, s.ema_nimg, s.ema_rampup), skip=guard.found_inf
    )
    remember_growth(state, stage)

    for name, values in seen.items():
        averages.add(name, torch.cat(values), skip=guard.found_inf)


# --- parts of a step ---


def run_G(  # noqa: N802
    G: Generator, count: int, labels: Tensor | None, stage: schedule.Stage, s: TrainingSettings
) -> tuple[Tensor, Tensor]:
    """Generate images from random latents and fresh noise.

    Args:
        G: The generator.
        count: Number of images.
        labels: Classes of the images, int64 [count], where G is conditioned on them.
        stage: The state of growing.
        s: Settings of the training.

    Returns:
        Images [count, C, r, r], and the ws [count, num_ws, w_dim] from which they were rendered.
    """
    z = draw_shard(lambda whole: torch.randn(whole, G.z_dim, device=G.w_avg.device), count)  # [count, z_dim]
    ws = map_with_mixing(G, z, s.style_mixing, labels, stage.resolution if G.grows else None)  # [count, num_ws, w_dim]
    growth = {"resolution": stage.resolution, "alpha": stage.alpha} if G.grows else {}
    return G.synthesis(ws, noise_mode="random", **growth), ws


def bytes_per_image(G: Generator, D: Discriminator, s: TrainingSettings) -> int:
    """Return how many bytes the step of the generator keeps of an image for the backward pass, at least."""
    stage, classes = s.stage(0, G.img_resolution), torch.zeros(1, dtype=torch.int64) if G.num_classes else None

    def forward() -> Tensor:
        fake, _ = run_G(G, 1, classes, stage, s)  # [1, C, r, r]
        return run_D(D, fake, classes, stage, s, p=0.0)  # [1, 1]

    return kept_bytes(forward, [*G.parameters(), *D.parameters()])


def run_D(  # noqa: N802
    D: Discriminator,
    images: Tensor,
    labels: Tensor | None,
    stage: schedule.Stage,
    s: TrainingSettings,
    p: float,
    parts: int = 1,
) -> Tensor:
    """Augment images [N, C, r, r], and return the logits [N, 1] of the discriminator.

    Args:
        D: The discriminator.
        images: Fakes, reals, or points between them.
        labels: Classes of the images, int64 [N], where D is conditioned on them.
        stage: The state of growing.
        s: Settings of the training.
        p: The probability of augmentation.
        parts: Number of batches that are stacked in `images`; each has minibatch statistics of its own.
    """
    if s.augment != "none":
        images = augment(images, p, PIPELINES[s.augment])
    growth = {} if s.grow_from is None else {"alpha": stage.alpha}
    return D(images, parts, labels=labels, **growth)


def map_with_mixing(
    G: Generator, z: Tensor, probability: float, labels: Tensor | None = None, resolution: int | None = None
) -> Tensor:
    """Map z with mixing regularization (StyleGAN, section 3.1).

    A share of the samples takes the layers after a random crossover from a second latent.

    Args:
        G: The generator.
        z: [N, z_dim].
        probability: The probability that a sample is mixed.
        labels: int64 [N], where G is conditioned on classes.
        resolution: The resolution that G has grown to, so that the crossover is among the layers in use; by default all
            layers are in use.

    Returns:
        ws [N, num_ws, w_dim].
    """
    ws = G.mapping(z, labels=labels)  # [N, num_ws, w_dim]
    if probability == 0:
        return ws
    n, device = z.shape[0], z.device
    layers = G.num_ws if resolution is None else num_ws_at(resolution)
    crossover = draw_shard(lambda whole: torch.randint(1, layers, (whole, 1), device=device), n)  # [N, 1]
    mixed = draw_shard(lambda whole: torch.rand(whole, 1, device=device), n) < probability  # [N, 1]
    crossover = torch.where(mixed, crossover, G.num_ws)
    keep = torch.arange(G.num_ws, device=device) < crossover  # [N, num_ws]
    return torch.where(keep[:, :, None], ws, G.mapping(normal_like(z), labels=labels))


def labels_of_round(labels: Tensor | None, k: int, count: int, total: int | None = None) -> Tensor | None:
    """Return the labels of round k out of `count`, from the first `total` samples of a batch."""
    return None if labels is None else labels[k:total:count]


def accumulate(loss: Tensor, total: int) -> Tensor:
    """Compute the gradient of a round's losses [M], and add it to those of earlier rounds.

    Returns:
        The part of the round in the mean over all `total` samples, [].
    """
    part = loss.sum() / total
    part.backward()
    return part.detach()


def update(optimizer: torch.optim.Optimizer, term: str, parts: list[Tensor], guard: Guard) -> None:
    """Let an optimizer step with the gradients of all rounds, unless something in this training step is not finite.

    Args:
        optimizer: A fused optimizer (see `Guard.step_optimizer`).
        term: Name of the loss, for the message if it is NaN or infinite.
        parts: Parts of the mean loss that `accumulate` returned, [] each.
        guard: The guard of this training step.
    """
    loss = distributed.all_reduce_gradients(optimizer, torch.stack(parts).sum())
    guard.step_optimizer(optimizer, {term: loss})


@torch.no_grad()
def track_w_avg(G: Generator, parts: list[Tensor], frozen: bool = False) -> None:
    """Move the mean of W, unless it is frozen, towards the w of a whole batch; `parts` has [M, w_dim] per round."""
    if not frozen:  # encoders predict codes relative to this mean
        G.mapping.track_average(distributed.all_reduce_mean(torch.cat(parts).mean(0, keepdim=True)))


@torch.no_grad()
def track_path_length(mean: Tensor, parts: list[Tensor]) -> None:
    """Move the mean path length [] towards the lengths of a whole batch; `parts` has [M] for each round."""
    mean.lerp_(distributed.all_reduce_mean(torch.cat(parts).mean()), PATH_LENGTH_DECAY)


def set_requires_grad(optimizer: torch.optim.Optimizer, requires_grad: bool) -> None:
    """Set whether gradients are computed for the parameters of an optimizer."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.requires_grad_(requires_grad)


@torch.no_grad()
def update_ema(average: Module, module: Module, decay: float, skip: Tensor) -> None:
    """Set average <- decay * average + (1 - decay) * module, and copy buffers.

    Args:
        average: The moving average, which is changed in place.
        module: A module with the same parameters.
        decay: Decay from 0 to 1.
        skip: []; if it is not 0, nothing changes.
    """
    kept: list[Tensor] = list(average.parameters())
    current: list[Tensor] = list(module.parameters())
    if skip.device.type == "cpu":  # reading the value costs nothing on a CPU
        if skip > 0:
            return
        torch._foreach_lerp_(kept, current, 1 - decay)
    else:
        change = torch._foreach_sub(current, kept)
        torch._foreach_mul_(change, (skip == 0) * (1 - decay))
        torch._foreach_add_(kept, change)
    for old, new in zip(average.buffers(), module.buffers(), strict=True):
        old.copy_(torch.where(skip > 0, old, new))


def remember_growth(state: TrainingState, stage: schedule.Stage) -> None:
    """Record the state of growing in both generators, so that those of a checkpoint render what they have learned."""
    for growth in (growth_of(state.G), growth_of(state.G_ema)):
        if growth is not None:
            growth.reached = stage
