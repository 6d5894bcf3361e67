"""A table of synonyms for the mapping "full", written by hand from general knowledge; no list was copied.

`SAME` has words for one thing, in order of preference. `KINDS` has a special word and the more general ones that may
replace it, the closest first. No entry is one that a careful annotator would dispute: a word that is missing here is
left to the label similarity, or dropped.
"""

from __future__ import annotations

import functools

SAME = """
airplane, plane, aeroplane, aircraft, jet, airliner, jetliner, jumbo jet
bike, bicycle, cycle, pushbike
motorcycle, motorbike
car, automobile, auto
truck, lorry, fire truck, fire engine
phone, cell phone, cellphone, mobile phone, smartphone, telephone, mobile
tv, television, television set, tv set
couch, sofa, settee
laptop, laptop computer, notebook computer
kid, child
man, gentleman, male
woman, female
lady, woman
guy, man, dude
person, human, human being, individual
people, crowd, group of people, persons
racket, racquet, tennis racket, tennis racquet
pant, trouser, slack
jean, denim jean, blue jean
sneaker, trainer, tennis shoe, running shoe
shirt, tee shirt, t shirt, tshirt, tee, blouse
cap, baseball cap, ball cap
coat, overcoat, raincoat
bag, purse, handbag, sack
handbag, purse
backpack, rucksack, knapsack
glass, drinking glass
wine glass, wineglass
cup, mug
donut, doughnut
refrigerator, fridge
hair drier, hair dryer, hairdryer, blow dryer
street, road, roadway
sidewalk, pavement, footpath
railing, handrail, guardrail, banister
tire, tyre
windshield, windscreen
rock, stone, boulder
hill, hillside
plant, potted plant, houseplant
curtain, drape
drawer, desk drawer
vegetable, veggie
cabinet, cupboard
tile, floor tile, wall tile
fruit, piece of fruit
track, train track, railroad track, railway track, rail track
railroad, railway, train track, railroad track, track
light, light fixture
sign, signboard, street sign, road sign
number, digit, numeral
logo, emblem
branch, tree branch, limb
trunk, tree trunk
wire, cable, cord
post, lamp post, signpost
pole, utility pole, telephone pole, light pole
lamp, table lamp, desk lamp, floor lamp
screen, monitor, display
sink, washbasin, wash basin
toilet, commode
table, tabletop, dining table, coffee table
dining table, table
cow, cattle, bull
horse, pony
sheep, lamb
dog, puppy, pup
cat, kitten
beach, seashore
sea, ocean
pavement, sidewalk
rug, carpet, mat
light, lightbulb, light bulb
brick wall, wall brick
stone wall, wall stone
tile wall, wall tile, tiled wall
wooden wall, wall wood
wooden floor, wood floor, hardwood floor, floor wood
window blind, blind
playingfield, playing field, field, sports field
sports ball, ball, soccer ball, basketball, baseball, tennis ball, football
teddy bear, teddy, stuffed bear
remote, remote control
fire hydrant, hydrant
hot dog, hotdog
tie, necktie
"""

KINDS = """
toddler: child, kid, person
baby: child, kid, person
infant: child, kid, person
boy: person
girl: person
man: person
woman: person
child: person
kid: person
lady: person
guy: person
men: person
people: person
player: person
skier: person
teenager: person
adult: person
surfer: person
skateboarder: person
snowboarder: person
pedestrian: person
passenger: person
rider: person
cyclist: person
biker: person
motorcyclist: person
driver: person
worker: person
chef: person
spectator: people, person
officer: person
policeman: man, person
policewoman: woman, person
fireman: man, person
baseball player: player, person
tennis player: player, person
soccer player: player, person
batter: player, person
pitcher: player, person
catcher: player, person
van: car, vehicle
suv: car, vehicle
taxi: car, vehicle
cab: car, vehicle
jeep: car, vehicle
sedan: car, vehicle
pickup truck: truck, vehicle
moped: motorcycle, vehicle
scooter: motorcycle, vehicle
minivan: car, vehicle
locomotive: train, engine
ship: boat
sailboat: boat
canoe: boat
kayak: boat
eagle: bird
seagull: bird
pigeon: bird
duck: bird
goose: bird
parrot: bird
owl: bird
calf: cow
ram: sheep
goat: animal
deer: animal
lion: animal
tiger: animal
monkey: animal
rabbit: animal
polar bear: bear
backpack: bag
suitcase: bag
luggage: bag
palm tree: tree
pine tree: tree
bush: plant
shrub: plant
rose: flower
tulip: flower
daisy: flower
apple: fruit
pear: fruit
strawberry: fruit
grape: fruit
lemon: fruit
broccoli: vegetable
carrot: vegetable
tomato: vegetable
onion: vegetable
lettuce: vegetable
potato: vegetable
sandwich: food
cake: food
hamburger: food
burger: food
donut: food
bread: food
meat: food
hot dog: food
sandal: shoe
heel: shoe
slipper: shoe
hoodie: jacket, shirt
sweatshirt: shirt
sweater: shirt
blazer: jacket
armchair: chair
stool: chair, seat
bookshelf: shelf
bookcase: shelf
cottage: house
skyscraper: building, building other merged
church: building, building other merged
tower: building, building other merged
beanie: hat, cap
cowboy hat: hat
jug: pot
"""

PREDICATES = """
near, next to, beside, by, close to, nearby, adjacent to, alongside, at side of, to left of, to right of
beside, next to, near, by, close to, nearby, adjacent to, alongside, to left of, to right of
wearing, wears, dressed in, has on
in front of, before, at front of, on front of
behind, in back of, at back of
under, below, beneath, underneath
above, higher than
over, above
above, over
on, on top of, atop, upon, placed on, placed atop, resting on, sitting atop, on surface of, situated on
in, inside, inside of, within, contained in
has, possesses, contains, featuring, equipped with
with, together with, along with, accompanied by
holding, gripping, grasping, clutching, holding onto, holding on to
carrying, transporting
lying on, laying on, lying in
laying on, lying on
hanging from, hung from, suspended from, hanging off
attached to, connected to, fixed to, fastened to, affixed to, joined to
mounted on, mounted to, installed on
covered in, covered with, coated in, coated with
covering, enveloping
looking at, gazing at, staring at, watching
watching, looking at, observing
walking on, walking along, walking down, walking across
walking in, walking through, strolling in
standing on, standing upon, standing atop
sitting on, seated on, sitting in, seated in, perched on
riding, riding on
eating, feeding on, grazing on, chewing
belonging to, owned by
part of, piece of
made of, made from, composed of, built of
painted on, drawn on, printed on
against, leaning against, leaning on
leaning on, leaning against
across, on other side of
along, along side
between, in between
from, coming from
growing on, growing from, growing in
using, operating
parked on, parked at, parked along
playing, playing with
on back of, on rear of
enclosing, surrounding, encircling
touching, in contact with
crossing, walking across
talking to, speaking to, chatting with
"""

NOT_WHAT_THEY_SAY = frozenset(("teddy bear", "stuffed animal", "stuffed bear", "toy car", "toy train"))
"""Compounds that are not a kind of their last word, and so are not shortened to it."""


@functools.cache
def of_object(label: str) -> tuple[str, ...]:
    """Return other names for an object class, the best first."""
    return _objects().get(label, ())


@functools.cache
def of_predicate(name: str) -> tuple[str, ...]:
    """Return other names for a predicate, the best first."""
    return _groups(PREDICATES).get(name, ())


@functools.cache
def _objects() -> dict[str, tuple[str, ...]]:
    table = _groups(SAME)
    for line in KINDS.strip().splitlines():
        word, _, general = line.partition(": ")
        table[word] = table.get(word, ()) + tuple(general.split(", "))
    return table


@functools.cache
def _groups(text: str) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        words = tuple(line.split(", "))
        for word in words:
            table[word] = table.get(word, ()) + tuple(w for w in words if w != word)
    return table
