"""Clips edited end to end: one face is followed, inverted and edited in every frame, and laid back; the sound is kept.

After Stitch it in Time (Tzaban et al. 2022, arXiv 2201.08361): landmarks are smoothed over time, so that the aligned
face does not tremble, and one generator is tuned for the whole clip (section 4.2), so that it does not flicker.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from psp.inference.align import align
from psp.inference.detect import Detector, Face
from psp.inference.editing import Move, lay_back, move_codes, render_codes
from psp.inference.photos import PhotoTask, Portrait
from psp.inference.translate import Refinement, translate, tune_for
from psp.model import Codes, PSp
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.images import to_uint8
from stylegan2.runtime.progress import track

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}  # that are written
SMOOTHING = 0.08  # seconds, the deviation of the window over landmarks
TUNED_ON = 4  # frames, spread over the clip
CODEC, QUALITY = "libx264", {"crf": "18"}  # at 18 nobody sees the difference
BATCH = 8


@dataclass(frozen=True)
class Clip:
    """What was found in a clip."""

    landmarks: list[np.ndarray | None]
    """of the followed face in each frame, smoothed; None where there is none"""
    seconds: list[float]
    """when each frame is shown"""

    @property
    def faces(self) -> int:
        """Return in how many frames the face is."""
        return sum(points is not None for points in self.landmarks)


def edit_video(
    model: PSp,
    source: Path,
    out: Path,
    task: PhotoTask,
    detector: Detector,
    moves: Sequence[Move],
    refinement: Refinement | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
) -> Clip:
    """Edit the largest face of a clip in all frames where it is; the others stay as they are.

    Args:
        model: Of the inversion task.
        source: Any video file that FFmpeg reads.
        out: The .mp4, .mov or .mkv to write, complete or not at all.
        task: Says what the encoder reads of a picture.
        detector: Finds faces; each with landmarks of the same number.
        moves: Along which directions, and how far.
        refinement: Steps of optimisation for each frame, and of tuning one generator for the clip.
        device: Where the networks run.
        precision: One of `psp.precision.PRECISIONS`.

    Returns:
        What was found.

    Raises:
        UserError: PyAV is not installed, the clip cannot be read, no frame has a face, or the disk refuses.
    """
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"a clip is written as {', '.join(FORMATS)}, not as {out.name!r}")
    clip = follow_face(source, detector)
    if not clip.faces:
        raise UserError(f"no face was found in any of the {len(clip.landmarks)} frames of {str(source)!r}")
    size = max(model.generator.img_resolution, model.encoder.input_size)
    for_codes = None if refinement is None else replace(refinement, pivotal_steps=0)
    sources = (cut.source for _, cut in _portraits(source, clip, task, size, model.encoder.input_size) if cut)
    batches = translate(model, sources, BATCH, device, refinement=for_codes, precision=precision)
    found = [codes for batch in track(batches, "encoding", "batch") for codes in batch.codes.split(1)]
    generator: Generator = model.generator
    if refinement is not None and refinement.pivotal_steps:
        generator = _tune(model, source, clip, task, size, found, refinement)
    edited = (move_codes(codes, moves) for codes in found)
    frames = _edited(_portraits(source, clip, task, size, model.encoder.input_size), edited, generator)
    write_video(source, out, track(frames, "rendering", "frame", total=len(clip.landmarks)))
    return clip


def follow_face(source: Path, detector: Detector, smoothing: float = SMOOTHING) -> Clip:
    """Find the face that is largest where a clip begins to show one, and follow it by the distance of its box.

    Args:
        source: A video file.
        detector: Finds faces in a frame, uint8 [H, W, 3].
        smoothing: Deviation of the Gaussian window over landmarks, in seconds; they are not smoothed across gaps.
    """
    landmarks: list[np.ndarray | None] = []
    seconds: list[float] = []
    last: Face | None = None
    for frame, shown in track(read_video(source), "finding the face", "frame"):
        faces = detector(frame)
        if faces:
            last = min(faces, key=lambda face: -face.area if last is None else _distance(face, last))
        landmarks.append(last.landmarks if faces and last is not None else None)
        seconds.append(shown)
    return Clip(smooth(landmarks, seconds, smoothing), seconds)


def _distance(face: Face, other: Face) -> float:
    (x0, y0, x1, y1), (u0, v0, u1, v1) = face.box, other.box
    return float(np.hypot(x0 + x1 - u0 - u1, y0 + y1 - v0 - v1))


def smooth(landmarks: Sequence[np.ndarray | None], seconds: Sequence[float], deviation: float) -> list:
    """Average landmarks [K, 2] over neighbouring frames by a Gaussian window in time, within runs without a gap."""
    result: list[np.ndarray | None] = [None] * len(landmarks)
    start = 0
    while start < len(landmarks):
        end = start
        while end < len(landmarks) and landmarks[end] is not None:
            end += 1
        if end > start:
            run = np.stack([points for points in landmarks[start:end] if points is not None])  # [T, K, 2]
            time = np.array(seconds[start:end])  # [T]
            weights = np.exp(-0.5 * ((time[:, None] - time) / max(deviation, 1e-9)) ** 2)  # [T, T]
            result[start:end] = list(np.einsum("st,tkc->skc", weights / weights.sum(1, keepdims=True), run))
        start = end + 1
    return result


# ------------------------------------------------------------------------------------- frames in and out


def read_video(source: Path) -> Iterator[tuple[np.ndarray, float]]:
    """Decode the first video stream: (frame uint8 [H, W, 3], upright, the second at which it is shown).

    Raises:
        UserError: PyAV is not installed, or the file is damaged or no video.
    """
    av = _import_av()
    try:
        with av.open(str(source)) as container:
            if not container.streams.video:
                raise UserError(f"{str(source)!r} has no video stream")
            for frame in container.decode(container.streams.video[0]):
                yield upright(frame.to_ndarray(format="rgb24"), frame.rotation), float(frame.time or 0)
    except av.FFmpegError as error:
        raise UserError(f"{str(source)!r} cannot be read as a video: {error.strerror or error}") from error


def upright(frame: np.ndarray, rotation: int) -> np.ndarray:
    """Turn a frame [H, W, 3] by what its display matrix says, counter-clockwise in degrees, as players do."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation / 90) % 4))


def write_video(source: Path, out: Path, frames: Iterator[np.ndarray]) -> None:
    """Write frames in place of those of a clip, at the same times, and copy its sound unchanged.

    Args:
        source: The clip.
        out: A file with a suffix of `FORMATS`, which is complete or not there.
        frames: uint8 [H, W, 3], as many as the clip has.

    Raises:
        UserError: The sound does not fit into such a file, or the disk refuses.
    """
    av = _import_av()
    frames = iter(frames)
    with (
        writing(out),
        atomic_file(out, durable=False) as file,
        av.open(str(source)) as given,
        av.open(file, "w", format=FORMATS[out.suffix.lower()]) as written,
    ):
        video = given.streams.video[0]
        target: Any = None
        sounds = {sound.index: written.add_stream_from_template(sound) for sound in given.streams.audio}
        waiting: list[Any] = []  # sound that comes before the first frame, without which no stream of frames is open
        for packet in given.demux(video, *given.streams.audio):
            if packet.stream.index in sounds:
                if packet.dts is not None:
                    packet.stream = sounds[packet.stream.index]
                    waiting.append(packet)
            else:
                for frame in packet.decode():
                    array = next(frames)
                    target = target or _add_video(written, video, array)
                    new = av.VideoFrame.from_ndarray(array, format="rgb24")
                    new.pts, new.time_base = frame.pts, frame.time_base
                    written.mux(target.encode(new))
            if target is not None:
                written.mux(waiting)
                waiting = []
        if target is not None:
            written.mux(target.encode())


def _add_video(written: Any, video: Any, frame: np.ndarray) -> Any:
    """Add a stream of the size of a frame and the times of another stream."""
    target = written.add_stream(CODEC, rate=video.average_rate or 25, options=QUALITY)
    target.height, target.width = frame.shape[:2]
    target.pix_fmt = "yuv444p" if target.height % 2 or target.width % 2 else "yuv420p"  # 4:2:0 takes even sides
    target.codec_context.time_base = video.time_base
    return target


def _import_av() -> Any:
    try:
        import av
    except ImportError as error:
        raise UserError("videos are read by PyAV, which is not installed: pip install av") from error
    return av


# ---------------------------------------------------------------------------------------- faces in frames


def _portraits(
    source: Path, clip: Clip, task: PhotoTask, size: int, input_size: int
) -> Iterator[tuple[np.ndarray, Portrait | None]]:
    """Decode a clip again: each frame uint8 [H, W, 3], and its aligned face."""
    for (frame, _), points in zip(read_video(source), clip.landmarks, strict=True):
        if points is None:
            yield frame, None
            continue
        picture, crop = align(frame, points, size)  # [S, S, 3]
        read, picture = task.read_source(picture, input_size, crop.side)
        yield frame, Portrait(read, picture, None, crop)


def _tune(
    model: PSp, source: Path, clip: Clip, task: PhotoTask, size: int, codes: Sequence[Codes], r: Refinement
) -> Generator:
    """Tune one generator on some frames, spread over those with a face."""
    chosen = set(np.linspace(0, len(codes) - 1, min(TUNED_ON, len(codes))).round().astype(int).tolist())
    faces = (cut for _, cut in _portraits(source, clip, task, size, model.encoder.input_size) if cut)
    sources = [face.source for n, face in enumerate(faces) if n in chosen]
    pivots = [codes[n] for n in sorted(chosen)]
    features = [pivot.features for pivot in pivots if pivot.features is not None]
    pivot = Codes(torch.cat([pivot.w_plus for pivot in pivots]), torch.cat(features) if features else None)
    return tune_for(model.generator, sources, pivot.map(_on(model.generator)), r)


def _on(generator: Generator) -> Callable[[Tensor], Tensor]:
    return lambda stored: stored.to(generator.w_avg.device)


def _edited(
    frames: Iterator[tuple[np.ndarray, Portrait | None]], codes: Iterator[Codes], generator: Generator
) -> Iterator[np.ndarray]:
    """Lay the rendering of the next codes over each frame with a face: uint8 [H, W, 3]."""
    for frame, portrait in frames:
        if portrait is None:
            yield frame
        else:
            picture = to_uint8(render_codes(generator, next(codes)))[0]  # [R, R, C]
            yield lay_back(frame, [portrait], [picture])
