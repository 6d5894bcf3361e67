"""Drawings of men, women and children, in the poses that the interactions need.

Poses: stand, reach (a hand out to hold something), raise (a hand up), balance (on a board), astride (on a horse or
bike), seated (on a chair, from the side), bench (seated, from the front). Everybody faces right.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from r1sgg.miniature.procedural.pen import BLACK, Anchors, Colour, Drawing, Pen, Point


class Build(NamedTuple):
    """Proportions in units: head radius, heights of shoulder and hip, half the shoulders' width, limbs."""

    head: float
    shoulder: float
    hip: float
    half: float
    leg: float
    arm: float


BUILDS = {
    "man": Build(9.5, 22, 54, 12, 46, 34),
    "woman": Build(9.5, 22, 50, 9, 50, 32),
    "child": Build(17, 36, 66, 12, 34, 26),
}
SIDEWAYS = frozenset(("astride", "seated"))
SKINS: tuple[Colour, ...] = ((241, 194, 150), (198, 134, 88), (120, 76, 50))
HAIRS: tuple[Colour, ...] = ((70, 42, 24), (30, 26, 28), (196, 140, 52))
CLOTHES: dict[str, tuple[Colour, ...]] = {
    "man": ((38, 88, 190), (36, 128, 84), (90, 94, 104)),
    "woman": ((200, 40, 110), (150, 60, 190), (214, 60, 50)),
    "child": ((250, 190, 30), (255, 120, 30), (60, 190, 220)),
}
TROUSERS: Colour = (46, 50, 84)


def _limbs(pose: str, b: Build) -> tuple[list[list[Point]], list[list[Point]]]:
    """Return the joints of the legs (hip, knee, foot) and arms (shoulder, elbow, hand) in a pose."""
    x, hip, sh, leg, arm, half = 50.0, b.hip, b.shoulder + 3, b.leg - 3, b.arm, b.half
    hanging: list[list[Point]] = [
        [(x + k * half, sh), (x + k * (half + 4), sh + arm / 2), (x + k * (half + 5), sh + arm)] for k in (-1, 1)
    ]
    straight: list[list[Point]] = [[(x + k * 5, hip), (x + k * 6, hip + leg)] for k in (-1, 1)]
    if pose == "reach":
        return straight, [hanging[0], [(x + half, sh), (x + half + 8, sh + 13), (x + half + 21, sh + 7)]]
    if pose == "raise":
        return straight, [hanging[0], [(x + half, sh), (x + half + 9, sh + 6), (x + half + 14, sh - 9)]]
    if pose == "balance":
        legs: list[list[Point]] = [
            [(x + k * 5, hip), (x + k * 14, hip + leg / 2), (x + k * 12, hip + leg)] for k in (-1, 1)
        ]
        return legs, [[(x + k * half, sh), (x + k * (half + 11), sh + 5), (x + k * (half + 21), sh)] for k in (-1, 1)]
    if pose == "astride":
        return (
            [[(x, hip), (x + 0.40 * leg, hip + 0.24 * leg), (x + 0.34 * leg, hip + 0.66 * leg)]],
            [[(x + 2, sh), (x + 9, sh + 0.5 * arm), (x + 0.8 * arm, sh + 0.55 * arm)]],
        )
    if pose == "seated":
        return (
            [[(x, hip), (x + 0.55 * leg, hip + 1), (x + 0.55 * leg, hip + 0.56 * leg)]],
            [[(x + 2, sh), (x + 5, sh + 0.5 * arm), (x + 0.6 * arm, sh + 0.7 * arm)]],
        )
    if pose == "bench":
        legs = [[(x + k * 5, hip), (x + k * 9, hip + 5), (x + k * 9, hip + 5 + leg / 2)] for k in (-1, 1)]
        return legs, [
            [(x + k * half, sh), (x + k * (half + 5), sh + arm / 2), (x + k * 6, sh + arm - 5)] for k in (-1, 1)
        ]
    return straight, hanging


def draw_person(label: str, pen: Pen, pose: str, variant: int) -> Anchors:
    """Draw a man, a woman (long hair, dress) or a child (large head)."""
    b = BUILDS[label]
    skin, hair = SKINS[variant % 3], HAIRS[(variant + variant // 3) % 3]
    cloth = CLOTHES[label][variant // 3 % 3]
    x, thick = 50.0, 8.5
    legs, arms = _limbs(pose, b)
    head = b.head
    if label == "woman":  # hair is behind the shoulders
        pen.rect(x - head - 2, 4, x + head + 2, b.shoulder + 9, hair, 7)
    for leg in legs:
        pen.line(leg, thick - 1, skin if label != "man" else TROUSERS)
        foot_x, foot_y = leg[-1]
        pen.rect(foot_x - 5, foot_y - 2, foot_x + 6, foot_y + 4, BLACK, 2)
    if label == "child":
        for leg in legs:
            (ax, ay), (bx, by) = leg[0], leg[1]
            reach = 0.45 if len(leg) == 2 else 0.85
            pen.line([(ax, ay), (ax + reach * (bx - ax), ay + reach * (by - ay))], thick + 1, TROUSERS)
    waist = b.half - 3
    shoulder = b.half if pose not in SIDEWAYS else b.half - 2
    pen.poly(
        [(x - shoulder, b.shoulder), (x + shoulder, b.shoulder), (x + waist, b.hip + 3), (x - waist, b.hip + 3)], cloth
    )
    pen.rect(x - shoulder - 1, b.shoulder - 2, x + shoulder + 1, b.shoulder + 8, cloth, 4)
    if label == "woman":
        _skirt(pen, pose, b, legs, cloth)
    for arm in arms:
        pen.line(arm, thick - 2, skin)
        pen.line(arm[:2], thick - 1, cloth)
    pen.rect(x - 3, b.shoulder - 6, x + 3, b.shoulder, skin)
    pen.oval(x, head, head, head, skin)
    _face(pen, label, pose, head, hair)
    low_hand = arms[-1][-1] if pose == "stand" else (x, b.hip)
    hand = arms[-1][-1]
    return {
        "crown": (x, x, 0.55 * head),
        "hand": (hand[0], hand[0], hand[1]),
        "low hand": (low_hand[0], low_hand[0], low_hand[1]),
        "seat": (x, x, b.hip + 4),
        "feet": (x, x, max(leg[-1][1] for leg in legs) + 4),
    }


def _skirt(pen: Pen, pose: str, b: Build, legs: list[list[Point]], cloth: Colour) -> None:
    x = 50.0
    if pose in SIDEWAYS or pose == "bench":
        for leg in legs:
            pen.line(leg[:2], 14, cloth)
    else:
        hem = b.hip + 0.52 * b.leg
        pen.poly([(x - 8, b.hip - 6), (x + 8, b.hip - 6), (x + 19, hem), (x - 19, hem)], cloth)


def _face(pen: Pen, label: str, pose: str, head: float, hair: Colour) -> None:
    x = 50.0
    pen.pie(x, head, head, head, 180, 360, hair)
    if label == "woman":
        pen.pie(x, head, head + 1, head + 1, 150, 235, hair)
        pen.pie(x, head, head + 1, head + 1, 305, 390, hair)
    eyes = (x - 0.4 * head, x + 0.4 * head) if pose not in SIDEWAYS else (x + 0.2 * head, x + 0.75 * head)
    for eye in eyes:
        pen.oval(eye, 1.15 * head, 0.13 * head, 0.17 * head, BLACK)
    middle = (eyes[0] + eyes[1]) / 2
    pen.line([(middle - 0.25 * head, 1.55 * head), (middle + 0.25 * head, 1.55 * head)], 0.14 * head, (170, 60, 50))


DRAWINGS: dict[str, Drawing] = {label: functools.partial(draw_person, label) for label in BUILDS}
