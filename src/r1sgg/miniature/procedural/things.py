"""Drawings of things: vehicles, trees and buildings, furniture, and what people hold, wear or put on a table."""

from __future__ import annotations

from r1sgg.miniature.procedural.pen import BLACK, BROWN, GREY, WHITE, Anchors, Colour, Drawing, Pen

_GLASS: Colour = (180, 220, 240)
_YELLOW: Colour = (250, 214, 60)
_BRIGHT: tuple[Colour, ...] = ((216, 44, 44), (40, 96, 200), (244, 176, 30))


def car(pen: Pen, pose: str, variant: int) -> Anchors:
    """From the side: cabin with two windows, wheels, lamps."""
    paint = ((206, 36, 40), (32, 100, 180), (60, 140, 90), (210, 212, 216))[variant % 4]
    pen.poly([(20, 66), (32, 46), (68, 46), (82, 66)], paint)
    pen.rect(0, 62, 100, 84, paint, 6)
    pen.poly([(26, 64), (35, 50), (48, 50), (48, 64)], _GLASS)
    pen.poly([(52, 64), (52, 50), (66, 50), (75, 64)], _GLASS)
    for x in (22, 78):
        pen.oval(x, 84, 12, 12, BLACK)
        pen.oval(x, 84, 5, 5, GREY)
    pen.rect(93, 67, 100, 73, _YELLOW, 2)
    pen.rect(0, 67, 5, 73, (250, 90, 70), 1)
    return {"top": (40, 62, 47)}


def bus(pen: Pen, pose: str, variant: int) -> Anchors:
    """A long box with a row of windows and a door."""
    paint = ((246, 186, 30), (196, 30, 44), (40, 130, 170))[variant % 3]
    pen.rect(0, 36, 100, 88, paint, 6)
    for k in range(4):
        pen.rect(6 + 18 * k, 43, 20 + 18 * k, 59, _GLASS, 2)
    pen.rect(80, 43, 96, 82, _GLASS, 2)
    pen.rect(87, 43, 89, 82, paint)
    pen.rect(0, 66, 78, 71, WHITE)
    for x in (22, 66):
        pen.oval(x, 88, 11, 11, BLACK)
        pen.oval(x, 88, 4.5, 4.5, GREY)
    return {"top": (20, 80, 37)}


def bike(pen: Pen, pose: str, variant: int) -> Anchors:
    """Two spoked wheels, diamond frame, saddle, handlebar."""
    paint = _BRIGHT[variant % 3]
    for x in (20, 80):
        pen.ring(x, 78, 20, 4, BLACK)
        pen.line([(x - 16, 78), (x + 16, 78)], 1.2, GREY)
        pen.line([(x, 62), (x, 94)], 1.2, GREY)
    pen.line([(20, 78), (36, 54), (72, 54), (48, 78), (20, 78)], 4.5, paint)
    pen.line([(48, 78), (34, 46)], 4.5, paint)
    pen.line([(80, 78), (70, 42)], 4.5, paint)
    pen.line([(62, 40), (70, 40), (78, 44)], 4.5, BLACK)
    pen.line([(26, 44), (42, 44)], 6, BLACK)
    pen.oval(48, 78, 6, 6, BLACK)
    return {"saddle": (35, 35, 43)}


def skateboard(pen: Pen, pose: str, variant: int) -> Anchors:
    """A deck with both ends up and two visible wheels."""
    paint = ((230, 80, 40), (40, 160, 120), (130, 70, 180))[variant % 3]
    pen.line([(5, 72), (16, 80), (84, 80), (95, 72)], 8, paint)
    for x in (24, 76):
        pen.oval(x, 91, 8, 8, BLACK)
        pen.oval(x, 91, 3, 3, WHITE)
    return {"deck": (48, 52, 79)}


def tree(pen: Pen, pose: str, variant: int) -> Anchors:
    """A trunk and a round crown with light spots."""
    leaf, light = (((36, 122, 56), (72, 160, 76)), ((70, 140, 40), (120, 180, 70)), ((24, 96, 70), (50, 132, 96)))[
        variant % 3
    ]
    pen.poly([(43, 50), (57, 50), (61, 100), (39, 100)], BROWN)
    for x, y, r in ((26, 40, 21), (74, 40, 21), (38, 21, 20), (62, 21, 20), (50, 40, 24)):
        pen.oval(x, y, r, r, leaf)
    for x, y in ((32, 30), (52, 16), (66, 34), (44, 44), (24, 46)):
        pen.oval(x, y, 5, 4, light)
    return {"crown": (36, 64, 44), "cover": (50, 50, 62), "shade": (26, 74, 99)}


def house(pen: Pen, pose: str, variant: int) -> Anchors:
    """Gable roof with a chimney, door and two windows."""
    wall, roof = (((232, 206, 160), (178, 58, 44)), ((214, 224, 230), (70, 84, 112)), ((240, 226, 140), (130, 70, 44)))[
        variant % 3
    ]
    pen.rect(70, 14, 80, 40, (140, 70, 60))
    pen.rect(8, 42, 92, 96, wall)
    pen.poly([(0, 46), (50, 6), (100, 46)], roof)
    pen.rect(42, 64, 58, 96, BROWN)
    pen.oval(54, 80, 1.8, 1.8, _YELLOW)
    for x in (16, 66):
        pen.rect(x, 56, x + 18, 74, WHITE)
        pen.rect(x + 2, 58, x + 16, 72, (120, 180, 220))
        pen.line([(x + 9, 58), (x + 9, 72)], 1.6, WHITE)
        pen.line([(x + 2, 65), (x + 16, 65)], 1.6, WHITE)
    return {"top": (50, 50, 9)}


def table(pen: Pen, pose: str, variant: int) -> Anchors:
    """A top, seen slightly from above, and four legs."""
    wood, dark = (((176, 118, 62), (124, 78, 38)), ((206, 164, 110), (156, 112, 66)), ((128, 78, 56), (86, 50, 36)))[
        variant % 3
    ]
    for x in (18, 76):
        pen.rect(x, 56, x + 6, 90, dark)
    for x in (3, 90):
        pen.rect(x, 58, x + 7, 98, dark)
    pen.poly([(12, 44), (88, 44), (100, 56), (0, 56)], wood)
    pen.rect(0, 55, 100, 62, dark, 1)
    return {"top": (22, 78, 52), "cover": (50, 50, 62), "shade": (38, 62, 98)}


def chair(pen: Pen, pose: str, variant: int) -> Anchors:
    """From the side, the back on the left."""
    wood, dark = (((190, 70, 50), (130, 40, 30)), ((60, 120, 130), (34, 82, 92)), ((196, 140, 70), (140, 92, 40)))[
        variant % 3
    ]
    pen.line([(30, 60), (26, 96)], 6, dark)
    pen.line([(66, 60), (70, 96)], 6, dark)
    pen.line([(29, 78), (67, 78)], 3.5, dark)
    pen.line([(26, 8), (31, 58)], 8, wood)
    pen.rect(26, 54, 74, 64, wood, 3)
    return {"seat": (45, 47, 57)}


def bench(pen: Pen, pose: str, variant: int) -> Anchors:
    """From the front: slats of the back, the seat, iron legs."""
    wood = ((156, 100, 52), (70, 120, 76))[variant % 2]
    for x in (8, 86):
        pen.rect(x, 50, x + 6, 98, BLACK, 1)
    for y in (48, 58):
        pen.rect(2, y, 98, y + 7, wood, 2)
    pen.poly([(2, 70), (98, 70), (102, 80), (-2, 80)], wood)
    pen.rect(-2, 79, 102, 84, tuple(int(0.7 * c) for c in wood), 1)  # type: ignore[arg-type]
    return {"seat": (22, 78, 75), "top": (22, 78, 75)}


def lamp(pen: Pen, pose: str, variant: int) -> Anchors:
    """A table lamp: shade, stem, foot."""
    foot = ((90, 70, 60), (60, 90, 130))[variant % 2]
    pen.rect(46, 44, 54, 92, foot)
    pen.oval(50, 92, 22, 7, foot)
    pen.poly([(36, 4), (64, 4), (82, 48), (18, 48)], (255, 226, 120))
    pen.poly([(18, 48), (82, 48), (81, 44), (19, 44)], (226, 160, 50))
    return {"feet": (50, 50, 96)}


def cup(pen: Pen, pose: str, variant: int) -> Anchors:
    """A mug with a handle and coffee in it."""
    paint = ((236, 70, 60), (60, 110, 210), (50, 160, 120))[variant % 3]
    pen.ring(76, 56, 18, 6, paint)
    pen.rect(16, 24, 74, 94, paint, 8)
    pen.oval(45, 25, 29, 9, tuple(int(0.86 * c) for c in paint))  # type: ignore[arg-type]
    pen.oval(45, 26, 23, 6, (84, 50, 30))
    return {"feet": (45, 45, 93), "grip": (20, 20, 66)}


def bottle(pen: Pen, pose: str, variant: int) -> Anchors:
    """Neck, cap, label."""
    glass = ((34, 120, 66), (120, 60, 30), (60, 150, 190))[variant % 3]
    pen.rect(43, 6, 57, 40, glass, 2)
    pen.rect(41, 0, 59, 9, (220, 190, 60), 2)
    pen.rect(33, 34, 67, 99, glass, 8)
    pen.rect(33, 54, 67, 80, WHITE)
    pen.rect(38, 62, 62, 66, (200, 60, 60))
    return {"feet": (50, 50, 98), "grip": (36, 36, 60)}


def vase(pen: Pen, pose: str, variant: int) -> Anchors:
    """A belly, a narrow neck, a band."""
    paint = ((50, 90, 190), (170, 80, 50), (110, 160, 150))[variant % 3]
    pen.poly([(34, 8), (66, 8), (58, 30), (42, 30)], paint)
    pen.oval(50, 60, 29, 36, paint)
    pen.rect(36, 88, 64, 99, paint, 2)
    pen.rect(22, 54, 78, 62, WHITE)
    pen.oval(50, 9, 16, 4, BLACK)
    return {"feet": (50, 50, 98), "mouth": (50, 50, 12)}


def flower(pen: Pen, pose: str, variant: int) -> Anchors:
    """Six petals, a stem with two leaves."""
    petal = ((232, 60, 120), (250, 250, 250), (150, 80, 210))[variant % 3]
    pen.line([(50, 36), (50, 97)], 6, (50, 140, 60))
    pen.poly([(50, 82), (30, 70), (26, 56), (46, 66)], (50, 140, 60))
    pen.poly([(50, 82), (70, 70), (74, 56), (54, 66)], (50, 140, 60))
    for dx, dy in ((0, -17), (15, -8), (15, 8), (0, 17), (-15, 8), (-15, -8)):
        pen.oval(50 + dx, 27 + dy, 11, 10, petal)
    pen.oval(50, 27, 10, 10, _YELLOW)
    return {"stem": (50, 50, 97), "grip": (50, 50, 88)}


def laptop(pen: Pen, pose: str, variant: int) -> Anchors:
    """Open: a shining screen and the keyboard before it."""
    shell = ((60, 62, 70), (186, 190, 196))[variant % 2]
    pen.rect(14, 26, 86, 78, shell, 4)
    pen.rect(19, 31, 81, 74, (110, 200, 250))
    pen.rect(24, 37, 54, 42, WHITE)
    pen.rect(24, 48, 70, 53, WHITE)
    pen.poly([(14, 78), (86, 78), (100, 96), (0, 96)], shell)
    pen.poly([(20, 81), (80, 81), (86, 88), (14, 88)], BLACK)
    return {"feet": (50, 50, 95)}


def book(pen: Pen, pose: str, variant: int) -> Anchors:
    """Open, two pages with lines, the cover showing around them."""
    cover = ((180, 40, 50), (40, 90, 150), (50, 120, 70))[variant % 3]
    pen.poly([(0, 30), (50, 38), (100, 30), (100, 92), (50, 100), (0, 92)], cover)
    pen.poly([(5, 26), (50, 34), (50, 93), (5, 85)], WHITE)
    pen.poly([(95, 26), (50, 34), (50, 93), (95, 85)], (232, 230, 220))
    pen.line([(50, 34), (50, 93)], 2, GREY)
    for k in range(4):
        pen.line([(12, 40 + 11 * k), (43, 45 + 11 * k)], 2.6, GREY)
        pen.line([(57, 45 + 11 * k), (88, 40 + 11 * k)], 2.6, GREY)
    return {"feet": (50, 50, 97), "grip": (8, 8, 84)}


def umbrella(pen: Pen, pose: str, variant: int) -> Anchors:
    """A canopy of coloured panels on a stick; open."""
    first, second = (
        ((214, 40, 60), (250, 240, 230)),
        ((40, 80, 190), (250, 200, 60)),
        ((130, 50, 160), (240, 150, 190)),
    )[variant % 3]
    pen.line([(50, 10), (50, 97)], 4, BLACK)
    pen.line([(50, 2), (50, 8)], 3, BLACK)
    pen.pie(50, 48, 50, 43, 180, 360, first)
    pen.pie(50, 48, 30, 43, 180, 360, second)
    pen.pie(50, 48, 11, 43, 180, 360, first)
    return {"grip": (50, 50, 90), "cover": (50, 50, 48), "shade": (34, 66, 98)}


def kite(pen: Pen, pose: str, variant: int) -> Anchors:
    """A diamond of four colours; its string with bows runs down to the left."""
    colours = (((220, 50, 50), _YELLOW), ((40, 120, 210), (250, 150, 40)), ((140, 60, 180), (120, 210, 90)))[
        variant % 3
    ]
    pen.line([(62, 66), (52, 76), (40, 80), (28, 98)], 2.8, BLACK)
    for x, y in ((51, 76), (36, 85)):
        pen.poly([(x - 7, y - 6), (x - 7, y + 6), (x + 7, y - 6), (x + 7, y + 6)], colours[0])
    top, right, bottom, left, middle = (66, 0), (96, 28), (62, 68), (34, 26), (65, 27)
    pen.poly([top, right, middle], colours[1])
    pen.poly([right, bottom, middle], colours[0])
    pen.poly([bottom, left, middle], colours[1])
    pen.poly([left, top, middle], colours[0])
    return {"grip": (28, 28, 97)}


def hat(pen: Pen, pose: str, variant: int) -> Anchors:
    """A wide brim, a crown, a ribbon."""
    felt, ribbon = (((226, 190, 110), (190, 50, 50)), ((52, 46, 50), (220, 220, 220)), ((150, 90, 50), (60, 40, 30)))[
        variant % 3
    ]
    pen.rect(24, 44, 76, 92, felt, 14)
    pen.rect(23, 76, 77, 86, ribbon)
    pen.oval(50, 90, 50, 9, felt)
    return {"brim": (50, 50, 90), "feet": (50, 50, 98)}


def bag(pen: Pen, pose: str, variant: int) -> Anchors:
    """A handbag with an arched handle and a clasp."""
    leather = ((160, 50, 60), (60, 70, 90), (196, 120, 50))[variant % 3]
    pen.ring(50, 34, 22, 6, leather)
    pen.poly([(14, 36), (86, 36), (96, 92), (4, 92)], leather)
    pen.rect(4, 84, 96, 95, leather, 4)
    pen.rect(14, 36, 86, 54, tuple(int(0.75 * c) for c in leather), 2)  # type: ignore[arg-type]
    pen.rect(44, 49, 56, 60, _YELLOW, 2)
    return {"grip": (50, 50, 15), "feet": (50, 50, 94)}


def clock(pen: Pen, pose: str, variant: int) -> Anchors:
    """A wall clock: rim, twelve ticks, two hands."""
    rim = ((60, 50, 50), (200, 60, 50), (40, 90, 140))[variant % 3]
    pen.oval(50, 50, 50, 50, rim)
    pen.oval(50, 50, 41, 41, WHITE)
    for x, y in ((50, 14), (86, 50), (50, 86), (14, 50)):
        pen.oval(x, y, 4, 4, BLACK)
    pen.line([(50, 50), (50, 22)], 5, BLACK)
    pen.line([(50, 50), (70, 60)], 5, BLACK)
    pen.oval(50, 50, 5, 5, rim)
    return {}


DRAWINGS: dict[str, Drawing] = {
    f.__name__: f
    for f in (
        *(car, bus, bike, skateboard, tree, house, table, chair, bench, lamp, cup, bottle, vase, flower, laptop),
        *(book, umbrella, kite, hat, bag, clock),
    )
}
