"""Editing of video clips: one face is followed, inverted and edited in every frame, and the sound is kept.

As in Stitch it in Time (Tzaban et al. 2022, arXiv 2201.08361), landmarks are smoothed over time, so that the aligned
face does not tremble, and one generator is tuned for the whole clip (section 4.2), so that the face does not flicker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from psp.inference.align import align
from psp.inference.detect import Detector, Face
from psp.inference.editing import Move, move_codes, paste_back_portraits, render_codes
from psp.inference.photos import Portrait
from psp.inference.sources import PhotoTask
from psp.inference.translate import Refinement, translate, tune_for
from psp.model import Codes, PSp
from stylegan2.networks.protocols import Generator
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import atomic_file, writing
from stylegan2.runtime.images import to_uint8
from stylegan2.runtime.progress import track

if TYPE_CHECKING:
    from av import Packet

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}  # {suffix of an output file: format of FFmpeg}
SMOOTHING = 0.08  # seconds, standard deviation of the window over landmarks
TUNED_ON = 4  # number of frames, spread over the clip, on which the generator is tuned
CODEC, QUALITY = "libx264", {"crf": "18"}  # visually lossless
BATCH = 8


@dataclass(frozen=True)
class Clip:
    """The position of a face in each frame of a clip."""

    landmarks: list[np.ndarray | None]
    """smoothed landmarks [K, 2] of the face in each frame; None for a frame without a face"""
    seconds: list[float]
    """time of each frame"""

    @property
    def faces(self) -> int:
        """Return the number of frames that show the face."""
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
    """Edit the largest face of a clip in all frames that show it. Other frames stay unchanged.

    Args:
        model: A model of the inversion task.
        source: A video file in any format that FFmpeg reads.
        out: The .mp4, .mov or .mkv file to write. It is written completely or not at all.
        task: The task, which converts pictures to inputs of the encoder.
        detector: A face detector, which must return the same number of landmarks for all faces.
        moves: Steps along directions.
        refinement: Optimisation of the codes of each frame, and tuning of one generator for the whole clip.
        device: Device of the networks.
        precision: One of `psp.precision.PRECISIONS`.

    Returns:
        The positions of the face.

    Raises:
        UserError: PyAV is not installed, the clip cannot be read, no frame shows a face, or the output cannot be
            written.
    """
    if out.suffix.lower() not in FORMATS:
        raise UserError(f"a clip must be written as {', '.join(FORMATS)}, not as {out.name!r}")
    clip = follow_face(source, detector)
    if not clip.faces:
        raise UserError(f"no face was found in any of the {len(clip.landmarks)} frames of {str(source)!r}")
    size = max(model.generator.img_resolution, model.encoder.input_size)
    for_codes = None if refinement is None else replace(refinement, pivotal_steps=0)
    sources = (cut.source for _, cut in _portraits(source, clip, task, size, model.encoder.input_size) if cut)
    batches = translate(model, sources, BATCH, device, refinement=for_codes, precision=precision)
    encoded = [codes for batch in track(batches, "encoding", "batch") for codes in batch.codes.split(1)]
    generator: Generator = model.generator
    if refinement is not None and refinement.pivotal_steps:
        generator = _tune(model, source, clip, task, size, encoded, refinement)
    edited = (move_codes(generator, codes, moves) for codes in encoded)
    frames = _edited(_portraits(source, clip, task, size, model.encoder.input_size), edited, generator)
    write_video(source, out, track(frames, "rendering", "frame", total=len(clip.landmarks)))
    return clip


def follow_face(source: Path, detector: Detector, smoothing: float = SMOOTHING) -> Clip:
    """Follow one face through a clip.

    The face is the largest one in the first frame with a face. In later frames it is the face whose box is closest to
    the previous one.

    Args:
        source: A video file.
        detector: A face detector for frames, uint8 [H, W, 3].
        smoothing: Standard deviation, in seconds, of the Gaussian window over landmarks, which are not smoothed across
            frames without a face.
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
    """Average landmarks over time by a Gaussian window, within runs of frames that show the face.

    Args:
        landmarks: [K, 2] for each frame, or None for a frame without a face.
        seconds: Time of each frame.
        deviation: Standard deviation of the window in seconds.

    Returns:
        The smoothed landmarks, in the same form.
    """
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
    """Decode the first video stream of a file.

    Yields:
        Each frame upright, uint8 [H, W, 3], and its time in seconds.

    Raises:
        UserError: PyAV is not installed, or the file is damaged or is not a video.
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
    """Rotate a frame [H, W, 3] counter-clockwise by the angle of its display matrix, in degrees, as players do."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation / 90) % 4))


def write_video(source: Path, out: Path, frames: Iterator[np.ndarray]) -> None:
    """Write a clip with other frames at the same times, and copy the sound unchanged.

    Args:
        source: The original clip.
        out: The file to write, with a suffix from `FORMATS`. It is written completely or not at all.
        frames: uint8 [H, W, 3] each, as many as in the original clip.

    Raises:
        UserError: The format cannot contain the sound, or the file cannot be written.
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
        target = None
        sounds = {sound.index: written.add_stream_from_template(sound) for sound in given.streams.audio}
        waiting: list[Packet] = []  # sound before the first frame; it cannot be written until the video stream is open
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
    """Add a video stream with the size of `frame`, and with the frame rate and time base of `video`."""
    target = written.add_stream(CODEC, rate=video.average_rate or 25, options=QUALITY)
    target.height, target.width = frame.shape[:2]
    target.pix_fmt = "yuv444p" if target.height % 2 or target.width % 2 else "yuv420p"  # 4:2:0 needs even sides
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
    """Decode a clip again, and yield each frame, uint8 [H, W, 3], and its aligned face, or None without a face."""
    for (frame, _), points in zip(read_video(source), clip.landmarks, strict=True):
        if points is None:
            yield frame, None
            continue
        picture, crop = align(frame, points, size)  # [S, S, 3]
        read, picture = task.read_source(picture, input_size, crop.side)
        yield frame, Portrait(torch.as_tensor(read), picture, None, crop)


def _tune(
    model: PSp, source: Path, clip: Clip, task: PhotoTask, size: int, codes: Sequence[Codes], r: Refinement
) -> Generator:
    """Tune one generator on a few frames, which are spread evenly over those with a face."""
    chosen = set(np.linspace(0, len(codes) - 1, min(TUNED_ON, len(codes))).round().astype(int).tolist())
    faces = (cut for _, cut in _portraits(source, clip, task, size, model.encoder.input_size) if cut)
    sources = [face.source for n, face in enumerate(faces) if n in chosen]
    pivots = [codes[n] for n in sorted(chosen)]
    features = [pivot.features for pivot in pivots if pivot.features is not None]
    pivot = Codes(torch.cat([pivot.w_plus for pivot in pivots]), torch.cat(features) if features else None)
    device = model.latent_avg.device
    return tune_for(model.generator, sources, pivot.map(lambda stored: stored.to(device)), r)


def _edited(
    frames: Iterator[tuple[np.ndarray, Portrait | None]], codes: Iterator[Codes], generator: Generator
) -> Iterator[np.ndarray]:
    """Render the next codes for each frame with a face, and yield all frames with the faces pasted, uint8 [H, W, 3]."""
    for frame, portrait in frames:
        if portrait is None:
            yield frame
        else:
            picture = to_uint8(render_codes(generator, next(codes)))[0]  # [R, R, C]
            yield paste_back_portraits(frame, [portrait], [picture])
