"""Find directions of W: python scripts/directions.py boundary --attributes yaw,glasses,smile (or: pca, closed_form)"""

import _start  # noqa: F401

# isort: split

import json
from dataclasses import asdict, replace
from typing import cast

import torch
from torch import Tensor

import stylegan2
from datasets.labelled import open_labelled
from options.commands.directions import FindDirections
from options.parse import run
from options.results import Record, label, record_for, with_folder
from psp.attribute_changes import attribute_changes, colours, identity_components
from psp.evaluation.attributes import attribute_classifier, classifier_side
from psp.loading import load
from psp.losses.identity import FaceSimilarity, identity_network
from psp.model import PSp
from stylegan2.latents.directions import (
    Directions,
    boundaries,
    build_directions,
    closed_form,
    load_directions,
    principal_components,
    save_directions,
    shipped_directions,
)
from stylegan2.latents.effects import Classifier, direction_effects, scores_of, table
from stylegan2.latents.mixing import mask_rows
from stylegan2.latents.sampling import random_w, seeded_w
from stylegan2.latents.scores import scored_latents
from stylegan2.networks.protocols import CorrectableSynthesis, Generator
from stylegan2.runtime.device import place
from stylegan2.runtime.errors import UserError
from stylegan2.runtime.files import write_text
from stylegan2.runtime.progress import track

MIN_ATTRIBUTE_SHARE = 0.01  # share of the samples below which an attribute is too rare to find a reliable direction
BATCH = 32  # photographs that are encoded at once
SCORE_SAMPLES = 1000  # number of samples for the standard deviation of the classifier's scores, if only this needs them


def find(generator: Generator, o: FindDirections, w: Tensor, scores: dict[str, Tensor]) -> Directions:
    """Find directions by the method that the settings name, from samples `w` [N, w_dim] of W.

    `scores` are {attribute: scores [N] of the samples by the classifier}, for `boundary` without a file of labels.
    """
    rows = range(generator.num_ws) if o.rows == "all" else mask_rows(o.rows, generator.num_ws)
    names = [f"{o.method}{k}" for k in range(o.count)]
    if o.method == "boundary":
        x, y = (w, scores) if o.labels is None else scored_latents(generator, o.labels, o.latents)
        names = o.selected_attributes(list(y))
        vectors = boundaries(x, y, {name: o.conditioned_attributes(name, list(y)) for name in names}, w, o.keep)
    elif o.method == "pca":
        vectors, _ = principal_components(w, o.count)
    else:
        vectors, _ = closed_form(generator, rows, o.count)
    return build_directions(generator, names, vectors, rows, w)


def write_effects(
    generator: Generator, o: FindDirections, directions: Directions, classify: Classifier, scores: dict[str, Tensor]
) -> None:
    """Measure what directions change, given {attribute: scores [N] of random samples}; print and write a table."""
    similarity = FaceSimilarity(o.identity, generator.w_avg.device)
    codes = seeded_w(generator, range(o.measure_samples), o.truncation_psi)  # [N, num_ws, w_dim]
    effects = direction_effects(generator, directions, codes, classify, similarity, scores, o.strength)
    about = {"truncation_psi": o.truncation_psi, "similarity": similarity.name}
    about["effects"] = {name: asdict(effect) for name, effect in effects.items()}
    write_text(o.folder / f"{o.method}.json", json.dumps(about, indent=2) + "\n")
    write_text(o.folder / f"{o.method}.md", table(effects))
    print(f"changes in standard deviations of the classifier's scores; similarity by {similarity.name}\n")
    print(table(effects))
    for name, effect in effects.items():
        if effect.share is not None and min(effect.share, 1 - effect.share) < MIN_ATTRIBUTE_SHARE:
            print(f"{name}: {effect.share:.1%} of the samples have it, which is too few for a reliable direction")


def keep(directions: Directions, record: Record, o: FindDirections) -> Directions:
    """Write the record of the run and then the directions, and return the directions."""
    record.write()
    path = o.folder / f"{o.method}.safetensors"
    save_directions(path, directions, {"method": o.method, "generator": o.generator})
    print(f"written: {path}")
    return directions


@torch.no_grad()
def feature_maps(model: PSp, images: Tensor) -> Tensor:
    """Encode images [N, 3, S, S] in [-1, 1] and return the generator's corrected feature maps, [N, C, r, r]."""
    maps, synthesis = [], cast(CorrectableSynthesis, model.generator.synthesis)
    for batch in track(images.split(BATCH), "photographs", "part"):
        codes = model.encode(batch.to(model.latent_avg.device))
        if codes.features is None:
            raise UserError("the encoder corrects no features: give a model with a feature encoder")
        own = synthesis.features_at(codes.w_plus, codes.features.shape[-1]).float()  # [n, C, r, r]
        maps.append((own + codes.features).cpu())
    return torch.cat(maps)  # [N, C, r, r]


def find_features(o: FindDirections, device: torch.device) -> None:
    """Add changes of feature maps to known directions, and write them."""
    model = load(o.checkpoint_path)[0].eval()
    place(model.requires_grad_(False), device)
    known, metadata = load_directions(o.known or known_directions(model.generator))
    known.check(model.generator)
    labelled = open_labelled(o.attribute_data, model.encoder.input_size, o.attribute_labels)
    names, (pixels, labels, more_pixels, more_labels) = labelled.read()
    chosen = o.selected_attributes(names)
    if unknown := [name for name in chosen if name not in known.names]:
        raise UserError(f"{unknown[0]!r} is no known direction; there are {', '.join(known.names)}")
    record = record_for(o, "directions", writes=(f"{o.method}.*",), part=o.method)
    images = torch.cat([pixels, more_pixels]).float() / 127.5 - 1  # [N, 3, S, S]
    features = feature_maps(model, images)  # [N, C, r, r]
    network = identity_network(o.identity)
    embeddings = torch.cat([network.embed(batch) for batch in images.split(BATCH)])  # [N, D]
    fixed = torch.cat([colours(images), identity_components(embeddings)], dim=1)  # [N, M]
    changes = attribute_changes(features, torch.cat([labels, more_labels]), fixed)  # [A, C, r, r]
    added = {name: changes[names.index(name)].half() for name in chosen}
    record.write()
    path = o.folder / f"{o.method}.safetensors"
    save_directions(path, replace(known, features={**known.features, **added}), metadata)
    print(f"written: {path}")


def known_directions(generator: Generator) -> str:
    """Return the name of the directions of a generator that come with this package."""
    for name in shipped_directions(generator):
        return name
    raise UserError("no directions of this generator come with the package: give --known")


def main(o: FindDirections) -> None:
    device = o.prepare()
    if o.method == "features":
        find_features(with_folder(o, f"directions-{label(o.checkpoint_path)}"), device)
        return
    o = with_folder(o, f"directions-{label(o.generator)}")
    record = record_for(o, "directions", writes=(f"{o.method}.*",), part=o.method)
    generator = stylegan2.load(o.generator)[0]
    place(generator.requires_grad_(False), device)
    w, scores = random_w(generator, o.num_samples, o.seed), {}  # [N, w_dim]
    by_classifier = o.method == "boundary" and o.labels is None
    directions = None
    if not by_classifier:  # these methods are fast, so the result is written before the slow measurements
        directions = keep(find(generator, o, w, scores), record, o)
    if directions is not None and o.measure:
        print(
            "measuring them with a classifier, whose training takes minutes at its first use: --no_measure skips this"
        )
    if by_classifier or o.measure:
        labelled = open_labelled(o.attribute_data, classifier_side(generator.img_resolution), o.attribute_labels)
        classifier, accuracy = attribute_classifier(labelled, device)
        print("balanced accuracy on held-out images: " + ", ".join(f"{k} {v:.2f}" for k, v in accuracy.items()))
        classify = classifier.by_name
        scored = w if by_classifier else w[:SCORE_SAMPLES]  # [n, w_dim]
        scored = scored[:, None].expand(-1, generator.num_ws, -1)  # [n, num_ws, w_dim]
        scores = scores_of(generator, scored, classify, progress="labels")
    if directions is None:
        directions = keep(find(generator, o, w, scores), record, o)
    if o.measure:
        write_effects(generator, o, directions, classify, scores)


if __name__ == "__main__":
    run(main, FindDirections)
