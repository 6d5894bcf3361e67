"""Drawings of animals: from the side, facing right; the cat sits and faces the viewer."""

from __future__ import annotations

import math

from r1sgg.miniature.procedural.pen import BLACK, WHITE, Anchors, Colour, Drawing, Pen

_ORANGE: Colour = (240, 150, 30)


def dog(pen: Pen, pose: str, variant: int) -> Anchors:
    """Floppy ear, snout, collar, tail up."""
    coat, dark = (((176, 116, 62), (110, 66, 30)), ((222, 190, 140), (150, 110, 66)), ((110, 74, 52), (62, 40, 28)))[
        variant % 3
    ]
    pen.line([(14, 52), (6, 38), (7, 28)], 6, coat)
    for x in (18, 30, 56, 66):
        pen.line([(x, 68), (x, 94)], 8, coat if x in (30, 66) else dark)
    pen.rect(10, 46, 74, 74, coat, 13)
    pen.poly([(58, 50), (66, 30), (82, 40), (76, 62)], coat)
    pen.oval(77, 33, 14, 13, coat)
    pen.rect(82, 31, 102, 45, coat, 5)
    pen.oval(100, 34, 4, 4, BLACK)
    pen.oval(70, 38, 6, 13, dark)
    pen.oval(83, 29, 2.4, 2.8, BLACK)
    pen.line([(64, 50), (77, 54)], 4.5, (210, 40, 40))
    return {"feet": (20, 66, 98), "top": (30, 45, 47)}


def cat(pen: Pen, pose: str, variant: int) -> Anchors:
    """Sitting, pointed ears, whiskers, striped forehead, tail around."""
    coat, dark = (((226, 140, 60), (170, 88, 24)), ((130, 132, 142), (78, 80, 90)), ((52, 50, 58), (90, 90, 100)))[
        variant % 3
    ]
    pen.line([(66, 92), (84, 90), (90, 74), (84, 62)], 8, dark)
    pen.oval(50, 74, 26, 26, coat)
    pen.poly([(28, 34), (30, 4), (50, 18)], coat)
    pen.poly([(72, 34), (70, 4), (50, 18)], coat)
    pen.poly([(33, 24), (33, 12), (42, 18)], (240, 170, 170))
    pen.poly([(67, 24), (67, 12), (58, 18)], (240, 170, 170))
    pen.oval(50, 34, 25, 21, coat)
    for x in (43, 50, 57):
        pen.line([(x, 16), (x, 24)], 2.5, dark)
    for x in (40, 60):
        pen.oval(x, 33, 5, 5, (220, 230, 90))
        pen.oval(x, 33, 1.8, 4.5, BLACK)
        pen.line([(x, 44), (x + (x - 50) * 2.2, 41)], 1.3, WHITE)
        pen.line([(x, 46), (x + (x - 50) * 2.2, 49)], 1.3, WHITE)
        pen.line([(x, 74), (x, 95)], 9, coat)
        pen.oval(x, 96, 7, 4, WHITE)
    pen.oval(50, 42, 3, 2.2, (230, 110, 120))
    pen.oval(50, 68, 9, 12, WHITE)
    return {"feet": (50, 50, 99), "top": (46, 54, 14)}


def horse(pen: Pen, pose: str, variant: int) -> Anchors:
    """Long neck with a mane, long legs with hooves, hanging tail."""
    coat, mane = (((136, 78, 40), (52, 32, 22)), ((206, 160, 100), (240, 228, 200)), ((92, 62, 52), (30, 26, 26)))[
        variant % 3
    ]
    pen.line([(16, 42), (7, 54), (6, 74)], 6, mane)
    for x, far in ((24, True), (62, True), (17, False), (69, False)):
        shade = tuple(int(0.8 * c) for c in coat) if far else coat
        pen.line([(x, 54), (x, 94)], 7, (shade[0], shade[1], shade[2]))
        pen.rect(x - 4, 93, x + 4, 99, BLACK, 1)
    pen.oval(43, 48, 31, 16, coat)
    pen.poly([(58, 40), (72, 10), (85, 16), (74, 58)], coat)
    pen.poly([(70, 10), (82, 5), (102, 27), (97, 35), (80, 26)], coat)
    pen.poly([(72, 10), (74, -2), (80, 7)], coat)
    pen.line([(73, 6), (64, 24), (57, 38)], 6, mane)
    pen.oval(84, 14, 2, 2.2, BLACK)
    pen.oval(97, 28, 1.6, 1.6, BLACK)
    return {"saddle": (40, 44, 36), "feet": (17, 69, 99), "top": (26, 40, 35)}


def elephant(pen: Pen, pose: str, variant: int) -> Anchors:
    """Trunk, tusk, large ear, pillars for legs."""
    skin, dark = (((140, 146, 158), (104, 110, 122)), ((166, 160, 156), (124, 118, 114)))[variant % 2]
    pen.line([(10, 40), (4, 54), (4, 66)], 4, dark)
    for x, far in ((24, True), (58, True), (12, False), (48, False)):
        pen.rect(x, 56, x + 14, 98, dark if far else skin, 3)
    pen.oval(38, 42, 32, 27, skin)
    pen.oval(76, 36, 19, 19, skin)
    pen.line([(89, 40), (95, 58), (92, 76), (100, 84)], 9, skin)
    pen.line([(83, 52), (93, 60)], 4, WHITE)
    pen.oval(66, 36, 12, 18, dark)
    pen.oval(84, 30, 2.4, 2.6, BLACK)
    return {"saddle": (36, 42, 18), "feet": (14, 70, 98), "top": (24, 36, 17)}


def sheep(pen: Pen, pose: str, variant: int) -> Anchors:
    """A cloud of wool, dark face and legs."""
    wool = ((250, 248, 240), (228, 218, 200))[variant % 2]
    shade: Colour = (205, 200, 190)
    for x in (26, 36, 60, 70):
        pen.line([(x, 70), (x, 95)], 6, BLACK)
    for k in range(10):
        angle = 2 * math.pi * k / 10
        pen.oval(47 + 30 * math.cos(angle), 52 + 17 * math.sin(angle), 13, 13, wool)
    pen.oval(47, 52, 34, 20, wool)
    for x, y in ((28, 48), (44, 42), (60, 50), (36, 62), (54, 64)):
        pen.ring(x, y, 5, 1.4, shade)
    pen.oval(84, 40, 12, 15, BLACK)
    pen.line([(74, 34), (66, 38)], 6, BLACK)
    pen.oval(80, 26, 10, 7, wool)
    pen.oval(87, 38, 2.4, 2.6, WHITE)
    return {"feet": (26, 70, 98), "top": (36, 50, 25)}


def bird(pen: Pen, pose: str, variant: int) -> Anchors:
    """Standing with folded wings, or flying with both wings up."""
    coat, dark = (((40, 130, 220), (22, 80, 160)), ((225, 60, 50), (150, 30, 30)), ((50, 50, 60), (100, 100, 116)))[
        variant % 3
    ]
    if pose == "fly":
        pen.poly([(44, 50), (14, 10), (40, 16), (66, 46)], dark)
        pen.poly([(4, 50), (2, 66), (30, 60)], dark)
        pen.oval(48, 56, 30, 14, coat)
        pen.oval(80, 48, 13, 12, coat)
        pen.poly([(90, 44), (104, 50), (90, 55)], _ORANGE)
        pen.poly([(42, 52), (50, 4), (66, 20), (66, 54)], dark)
        pen.oval(83, 45, 2.8, 3, WHITE)
        pen.oval(84, 45, 1.6, 1.8, BLACK)
        return {"feet": (48, 48, 69)}
    for x in (46, 58):
        pen.line([(x, 70), (x, 94)], 4.5, _ORANGE)
        pen.line([(x - 2, 95), (x + 8, 95)], 4.5, _ORANGE)
    pen.poly([(26, 50), (2, 66), (10, 76), (38, 70)], dark)
    pen.oval(48, 54, 28, 22, coat)
    pen.oval(70, 30, 17, 16, coat)
    pen.poly([(84, 24), (102, 31), (84, 38)], _ORANGE)
    pen.oval(54, 64, 14, 10, WHITE)
    pen.poly([(28, 44), (56, 46), (44, 66), (24, 62)], dark)
    pen.oval(75, 27, 4, 4.4, WHITE)
    pen.oval(76, 27, 2.2, 2.6, BLACK)
    return {"feet": (52, 52, 96)}


DRAWINGS: dict[str, Drawing] = {
    "dog": dog,
    "cat": cat,
    "horse": horse,
    "elephant": elephant,
    "sheep": sheep,
    "bird": bird,
}
