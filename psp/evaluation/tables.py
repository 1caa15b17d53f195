"""Compute means over images, and format them as tables and pictures."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from psp.perception.segmenter import label_ious
from stylegan2.runtime import images

PICTURE_SIDE = 128  # smallest side of a picture in the sheet, in pixels
Values = Mapping[str, np.ndarray]


def means(values: Values) -> dict[str, float]:
    """Average over images: {metric: mean}. Overlaps of labels become the mIoU over the labels that occur."""
    result = {name: float(value.mean()) for name, value in values.items() if value.ndim == 1}
    if "union" in values:
        seconds = result.pop("seconds_per_image")
        ious = label_ious(*(torch.from_numpy(values[name]) for name in ("intersection", "union")))  # [label_nc]
        result |= {"miou": float(ious.nanmean()), "seconds_per_image": seconds}
    return result


def overall(groups: Sequence[Values]) -> dict[str, float]:
    """Average over the images of all groups together: {metric: mean}."""
    return means({name: np.concatenate([group[name] for group in groups]) for name in groups[0]})


def table(results: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]) -> str:
    """Format {method: {metric: mean}} as a Markdown table with one row per method; titles are {metric: title}."""
    metrics = list(next(iter(results.values())))
    lines = ["| method | " + " | ".join(titles.get(m, m) for m in metrics) + " |"]
    lines.append("|---" * (len(metrics) + 1) + "|")
    for name, values in results.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[m]:.4f}" for m in metrics) + " |")
    return "\n".join(lines) + "\n"


def tables(groups: Mapping[str, Mapping[str, Values]], titles: Mapping[str, str]) -> tuple[dict, str]:
    """Average {group: {method: values of each image}} and format the means.

    Returns:
        JSON {"results": {method: {metric: mean over all groups}}, "groups": {group: {method: ...}}}, where "groups" is
        left out if there is only one; and the same as Markdown.
    """
    by_group = {group: {name: means(values) for name, values in methods.items()} for group, methods in groups.items()}
    if len(by_group) == 1:
        results = next(iter(by_group.values()))
        return {"results": results}, table(results, titles)
    complete = [name for name in next(iter(groups.values())) if all(name in methods for methods in groups.values())]
    results = {name: overall([methods[name] for methods in groups.values()]) for name in complete}
    parts = [("all", results), *by_group.items()]
    text = "\n".join(f"**{group}**\n\n{table(values, titles)}" for group, values in parts if values)
    return {"results": results, "groups": by_group}, text


def sheet(rows: Mapping[str, Sequence[np.ndarray]]) -> np.ndarray:
    """Stack rows {caption: K pictures uint8 [H, W, 3]} in one picture; small pictures are enlarged."""
    return images.labelled_sheet([[_enlarged(p) for p in row] for row in rows.values()], captions=list(rows))


def _enlarged(picture: np.ndarray) -> np.ndarray:
    times = -(-PICTURE_SIDE // len(picture))
    return picture.repeat(times, axis=0).repeat(times, axis=1)  # [times * H, times * W, 3]
