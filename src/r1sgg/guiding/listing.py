"""The course of an answer that lists objects alone, the box before the name, as Qwen's and Gemini's detections do.

    ```json
    [
        {"bbox_2d": [100, 80, 420, 900], "label": "man"},
        {"bbox_2d": [90, 300, 800, 990], "label": "horse"}
    ]
    ```

It takes the place of a `Script` where `GuideSpec.listing` names the key of the boxes. The layout is the one that the
dialect writes, one object a line in a code fence (`r1sgg.graph.dialects.qwen_json.write_detections`).
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, digits

from r1sgg.errors import ConfigError
from r1sgg.graph.dialects.qwen_json import write_detections
from r1sgg.graph.scene import normalize_name
from r1sgg.graph.text import parse
from r1sgg.guiding.draft import FOLLOWING, Draft, Stage
from r1sgg.guiding.layout import Word, json_inside
from r1sgg.guiding.names import LONGEST, OpenName, Style
from r1sgg.guiding.numbers import Integers, OwnNumbers
from r1sgg.guiding.regions import Pick, Region, Value
from r1sgg.guiding.script import NUMBERS, Script, always
from r1sgg.guiding.spec import GuideSpec
from r1sgg.guiding.table import IMPOSSIBLE, TokenTable
from r1sgg.guiding.words import Words, spelled

_COMMA = ", "
_STYLE = Style("A-Za-z0-9", " _'-", b'"')


class Listing(Script):
    """The course of the lists that a `GuideSpec` allows.

    Raises:
        ConfigError: the tokenizer can't write what `spec` asks for, or a name would be read as another.
    """

    def __init__(self, table: TokenTable, spec: GuideSpec) -> None:
        self.table, self.spec = table, spec
        start, between, another, end = parts_of(spec.listing)
        self._check(spec, (start, between, another, end, _COMMA))

        def objects() -> Words:
            contexts = [(between, another[:1])]
            return Words(table, spec.objects, lambda name: Word(json_inside(name)), b'"', contexts)

        self._objects: Words = table.kept("objects", (spec.objects, spec.listing), objects)
        names = [word.text for word in self._objects.samples]
        first, second = int(spec.frame[0]), int(spec.frame[1])
        contexts = ((start, _COMMA), (_COMMA, between))
        own = OwnNumbers.of(table, max(first, second), _COMMA, contexts)

        def of(low: int, most: int) -> Integers:
            return Integers.of(table, low, most, own)

        written = [f"{_COMMA}{n}" for n in NUMBERS]
        comma = Pick(self._fixed(written, [(_COMMA, NUMBERS)]))
        behind = self._fixed([between + name for name in names], [(another, NUMBERS), (end, ("",))])
        open_name = OpenName(table, _STYLE)
        fixed: dict[Stage, Region] = {
            Stage.START: Pick(self._fixed([""], [(start, NUMBERS)])),
            **dict.fromkeys((Stage.AFTER_X1, Stage.AFTER_Y1, Stage.AFTER_X2), comma),
            Stage.AFTER_BOX: Pick(self._fixed(written, [(between, names)])),
            Stage.NAME: Pick(self._objects.choice) if spec.objects else open_name,
        }
        last = Pick(behind, 2)
        more = Pick(behind)
        self._regions = {
            **{stage: always(region) for stage, region in fixed.items()},
            Stage.X1: lambda draft: self._side(draft, of, 0, first - 1),
            Stage.Y1: lambda draft: self._side(draft, of, 0, second - 1),
            Stage.X2: lambda draft: self._side(draft, of, draft.box[0] + 1, first),
            Stage.Y2: lambda draft: self._side(draft, of, draft.box[1] + 1, second),
            Stage.AFTER_NAME: lambda draft: more if len(draft.ids) < spec.max_objects else last,
        }
        self.costs = _Costs(table, spec, (start, between, another, end), self._objects)

    def begin(self) -> Draft:
        """Nothing written yet."""
        return Draft(Stage.START)

    def after(self, draft: Draft, value: Value) -> Draft:
        """The draft behind a region with that value."""
        match draft.stage:
            case Stage.START:
                return draft._replace(stage=Stage.X1)
            case Stage.X1 | Stage.Y1 | Stage.X2 as stage:
                return draft._replace(stage=FOLLOWING[stage], box=(*draft.box, value))
            case Stage.Y2:
                return draft._replace(stage=Stage.AFTER_BOX, box=())
            case Stage.AFTER_BOX:
                return draft._replace(stage=Stage.NAME)
            case Stage.NAME:
                return draft._replace(stage=Stage.AFTER_NAME, ids=(*draft.ids, b""))
            case Stage.AFTER_NAME:
                return draft._replace(stage=Stage.X1 if value == 0 else Stage.DONE)
            case stage:
                return draft._replace(stage=FOLLOWING[stage])

    def _check(self, spec: GuideSpec, fixed: Sequence[str]) -> None:
        letters = () if spec.objects else ascii_lowercase
        for text in (*fixed, *digits, *letters):
            cost = self.table.cost(text.encode())
            if cost >= IMPOSSIBLE or (len(text) == 1 and cost != 1):
                raise ConfigError(f"guide: this tokenizer has no tokens for {text!r}, which an answer may need")
        for name in spec.objects:
            spelled(self.table, name, json_inside, "objects")
            text = write_detections([name], [(0, 0, 1, 1)], "bbox_2d")
            if parse(text, (1, 1), dialect="qwen-json").graph.labels != (normalize_name(name),):
                raise ConfigError(f"guide, objects: expected names that can be read again, found {name!r}")


def parts_of(key: str) -> tuple[str, str, str, str]:
    """Return what stands before the first box, between a box and its name, before another box, and at the end."""
    text = write_detections(["#", "#"], [(0, 0, 0, 0)] * 2, key)
    box = _COMMA.join("0000")
    start, another, rest = text.split(box)
    between, another = another.split("#")
    return start, between, another, rest.split("#")[1]


class _Costs:
    """Upper bounds, in tokens, of the shortest way to the end; see `r1sgg.guiding.costs.Costs`."""

    def __init__(self, table: TokenTable, spec: GuideSpec, parts: Sequence[str], objects: Words) -> None:
        start, between, another, end = (text.encode() for text in parts)
        comma = table.cost(_COMMA.encode())
        first, second = (len(str(int(side))) for side in spec.frame)
        rest = {Stage.NAME: table.cost(end) + 1}
        rest[Stage.AFTER_BOX] = objects.cheapest + rest[Stage.NAME]
        rest[Stage.Y2] = table.cost(between) + rest[Stage.AFTER_BOX]
        rest[Stage.AFTER_X2] = second + rest[Stage.Y2]
        rest[Stage.X2] = comma + rest[Stage.AFTER_X2]
        rest[Stage.AFTER_Y1] = first + rest[Stage.X2]
        rest[Stage.Y1] = comma + rest[Stage.AFTER_Y1]
        rest[Stage.AFTER_X1] = 1 + rest[Stage.Y1]  # 0
        rest[Stage.X1] = comma + rest[Stage.AFTER_X1]
        rest[Stage.START] = 1 + rest[Stage.X1]
        self._rest: dict[Stage, tuple[int, ...]] = {stage: (tokens,) for stage, tokens in rest.items()}
        self._rest[Stage.AFTER_NAME] = (rest[Stage.START], 1)
        fixed = sum(map(table.worst, (start, between, another, end, _COMMA.encode())))
        self._most = fixed + 2 * (first + second) + objects.dearest + LONGEST + rest[Stage.START]

    def rest(self, draft: Draft) -> Sequence[int]:
        """Tokens that follow the region a draft is in: one number, or one for each of its values."""
        return self._rest.get(draft.stage, (1,))

    def most(self, draft: Draft) -> int:
        """No token that goes on from a draft leaves more to write than this."""
        return self._most
