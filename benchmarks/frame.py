"""How often the frame probe tells each frame, by the noise of the boxes: python benchmarks/frame.py

Answers are scripted: the true boxes of the probe's pictures, written in a frame, with normal noise on each side and 30
% of the boxes anywhere. For each frame that a family of the registry is taught, and for further conventions, the fit
decides on answers of several seeds. "right": that frame is the verdict. "one": the verdict is a twin of it, which
differs by at most 0.2 % of a side and counts as agreement. "cannot tell", and "wrong": another frame.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from r1sgg.doctor.conventions import Candidate, candidates
from r1sgg.doctor.fitting import Answers, fit
from r1sgg.doctor.frame import expected_of, sizes_of
from r1sgg.doctor.shapes import Picture, draw_pictures
from r1sgg.endpoint.remote import remote
from r1sgg.models.registry import FAMILIES

NOISES = (0.0, 0.003, 0.01, 0.02, 0.03)
KINDS = ("right", "one", "cannot tell", "wrong")
FURTHER = (
    *("fractions", "percent", "thousandths, the middle of each bin", "1,024 bins", "thousandths, y first"),
    *("pixels of the image, y first", "pixels of the image, width and height in place of the second corner"),
    *("thousandths, width and height in place of the second corner", "thousandths, centre and size"),
    *(
        "fractions of a padded square",
        "thousandths of a padded square",
        "0 to 999 of a padded square",
        "pixels of a padded square",
    ),
    *("pixels of the image resized as by Qwen2.5-VL", "pixels of the image resized as by Qwen3-VL"),
)


def scripted(candidate: Candidate, pictures: list[Picture], noise: float, wrong: float, seed: int) -> Answers:
    """Write the true boxes in a candidate's frame, with noise, a share of them anywhere."""
    draw = np.random.default_rng(seed)
    written, true, places = [], [], []
    for k, picture in enumerate(pictures):
        boxes = picture.boxes + draw.normal(0, noise, picture.boxes.shape)
        anywhere = np.sort(draw.random((len(boxes), 2, 2)), axis=1).reshape(-1, 4)
        boxes = np.where(draw.random((len(boxes), 1)) < wrong, anywhere, boxes)
        frame = candidate.frames[k]
        written.append(frame.written(boxes).round(3 if max(frame.size) <= 1 else 0))
        true.append(picture.boxes)
        places += [k] * len(boxes)
    return Answers(np.array(places), np.concatenate(written), np.concatenate(true))


def outcome(candidate: Candidate, known: list[Candidate], pictures: list[Picture], answers: Answers) -> tuple[str, str]:
    """Return "right", "one", "cannot tell" or "wrong", and what the verdict was."""
    verdict = fit(answers, known, [picture.boxes for picture in pictures])
    if verdict.why_not:
        return "cannot tell", verdict.why_not
    if verdict.shifted:
        return "wrong", "a shift"
    if verdict.best.candidate is candidate:
        return "right", candidate.name
    twins = [twin.candidate for twin in verdict.twins]
    return ("one" if candidate in twins else "wrong"), verdict.best.candidate.name


def main() -> None:
    """Print the table, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--wrong", type=float, default=0.3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pictures = draw_pictures()
    plain = candidates([sizes_of(remote("gpt"), picture.image) for picture in pictures])
    rows: dict[tuple[object, ...], tuple[Candidate, list[Candidate], list[str]]] = {}
    for family in FAMILIES:
        checkpoint = remote("m", family.name)
        expected, known = expected_of(
            checkpoint, pictures, candidates([sizes_of(checkpoint, picture.image) for picture in pictures])
        )
        rows.setdefault((expected.name, expected.frames), (expected, known, []))[2].append(family.name)
    for name in FURTHER:
        candidate = next(c for c in plain if name in (c.name, *c.same))
        rows.setdefault((candidate.name, candidate.frames), (candidate, plain, []))
    print("| frame | families | " + " | ".join(f"noise {noise:.1%}" for noise in NOISES) + " |")
    print("|---|---|" + "---|" * len(NOISES))
    record = []
    for candidate, known, families in rows.values():
        cells = []
        for noise in NOISES:
            found = [
                outcome(candidate, known, pictures, scripted(candidate, pictures, noise, options.wrong, seed))
                for seed in range(options.seeds)
            ]
            counts = Counter(kind for kind, _ in found)
            mistakes = Counter(said for kind, said in found if kind in ("wrong", "cannot tell"))
            cells.append(", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind]))
            record.append(
                {"frame": candidate.name, "families": families, "noise": noise, **counts, "verdicts": dict(mistakes)}
            )
        print(f"| {candidate.name} | {', '.join(families) or '-'} | " + " | ".join(cells) + " |", flush=True)
    random_boxes = Counter(
        outcome(plain[0], plain, pictures, scripted(plain[0], pictures, 0.0, 1.0, seed))[0]
        for seed in range(options.seeds)
    )
    print(f"\nboxes that are all anywhere: {dict(random_boxes)}")
    if options.json:
        options.json.write_text(json.dumps({"rows": record, "anywhere": dict(random_boxes)}, indent=1))


if __name__ == "__main__":
    main()
