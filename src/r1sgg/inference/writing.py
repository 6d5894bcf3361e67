"""What has been written of a batch's completions, and what the model is to read next.

    a completion's tokens    {"objects":[{"id":"   man   .1   ","bbox":[   17
    chosen or forced             forced          chosen  ...  forced ...  chosen
    read by the model        <------- read ------->|
    predicted by the model   <---------- scored --------->|

A token that is chosen is the last one; those that a guide forces behind it are added at once. The next pass of the
model reads all that is not read, and predicts the token behind each. Its predictions of forced tokens give their
log-probabilities, and the next token is chosen from its last prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from r1sgg.guiding.guide import Guide
from r1sgg.inference.choosing import Draw, choose
from r1sgg.inference.loops import LoopWatch


@dataclass(slots=True)
class Draft:
    """One completion as far as it is written.

    Attributes:
        guide: what it is held to; None where it is free.
        ids: its tokens.
        read: how many of them the model has read.
        scored: how many of them the model has predicted.
        passes: how many passes of the model it took part in.
        ended: "stop", "length", "loop", or "" while it goes on.
        watch: finds out whether a free completion repeats itself; None where nobody wants to know.
    """

    guide: Guide | None = None
    ids: list[int] = field(default_factory=list)
    read: int = 0
    scored: int = 0
    passes: int = 0
    ended: str = ""
    watch: LoopWatch | None = None

    def unread(self) -> list[int]:
        """The tokens that the model is to read next; the end of the turn is not read."""
        return self.ids[self.read : len(self.ids) - (self.ended == "stop")]

    def follow(self) -> None:
        """Add the tokens that the guide leaves no alternative to."""
        if self.guide is not None:
            self.ids += self.guide.follow()
            self.ended = "stop" if self.guide.finished else ""

    def cut(self, reason: str) -> None:
        """End it behind the last token that is scored, unless it has ended."""
        if not self.ended:
            self.ids, self.ended = self.ids[: self.scored], reason


class Writer:
    """The completions of one batch.

    Args:
        draw: how tokens are taken.
        count: how many completions.
        ends: the tokens that end a turn.
        most: longest completion.
        suppressed: tokens that are never chosen.
        guides: one for each completion, fresh, None for a free one; no guides where all are free.
        heard: called with the first completion's tokens after each pass; ends it by False.
        decode: tokens -> text, where completions that repeat themselves are to be cut.
        scores: whether log-probabilities are wanted.
    """

    def __init__(
        self,
        draw: Draw,
        count: int,
        ends: Sequence[int],
        most: int,
        suppressed: Sequence[int] = (),
        *,
        guides: Sequence[Guide | None] = (),
        heard: Callable[[list[int]], bool] | None = None,
        decode: Callable[[list[int]], str] | None = None,
        scores: bool = True,
    ) -> None:
        if guides:
            self.drafts = [Draft(guide) for guide in guides]
        else:
            self.drafts = [Draft(watch=None if decode is None else LoopWatch(decode)) for _ in range(count)]
        self._guided = any(draft.guide is not None for draft in self.drafts)
        self._draw, self._ends, self._most, self._heard, self._wanted = draw, frozenset(ends), most, heard, scores
        self._suppressed = torch.tensor(suppressed, dtype=torch.long)
        self._order: list[int] = []
        self._logprobs: list[torch.Tensor] = []
        self._allowed: list[torch.Tensor] = []
        for draft in self.drafts:
            draft.follow()

    def finished(self, k: int) -> bool:
        """Whether completion k needs no more of the model."""
        draft = self.drafts[k]
        return bool(draft.ended) and (draft.scored >= len(draft.ids) or not self._wanted)

    def read(self, k: int) -> list[int]:
        """What the model is to read of completion k, which counts as read from now on."""
        draft = self.drafts[k]
        unread = draft.unread()
        draft.read += len(unread)
        return unread

    def opening(self) -> list[int]:
        """The forced tokens that all completions begin with, but for an end of the turn."""
        first, *others = [draft.unread() for draft in self.drafts]
        length = 0
        while length < len(first) and all(ids[length : length + 1] == first[length : length + 1] for ids in others):
            length += 1
        return first[:length]

    def take(self, rows: Sequence[int], logits_nV: torch.Tensor, widths: Sequence[int]) -> None:
        """Go on by what the model predicts.

        Args:
            rows: the completions, none of them finished.
            logits_nV: for each of them in turn, its predictions from the first token on that is not scored yet; changed
                in place.
            widths: how many predictions each has: as many tokens as the model has just read.
        """
        logits_nV = logits_nV.float()
        if len(self._suppressed):
            self._suppressed = self._suppressed.to(logits_nV.device)
            logits_nV.index_fill_(1, self._suppressed, -torch.inf)
        tokens: list[int] = []  # n, with a 0 where one is to be chosen
        open_places: list[int] = []
        open_rows: list[int] = []
        for k, width in zip(rows, widths, strict=True):
            draft = self.drafts[k]
            tokens += draft.ids[draft.scored : draft.scored + width]
            draft.passes += 1
            draft.scored += width
            if draft.scored > len(draft.ids):
                open_rows.append(k)
                open_places.append(len(tokens))
                tokens.append(0)
            self._order += [k] * width
        chosen, allowed = None, None
        if open_rows:
            scores_bV = logits_nV if len(open_rows) == len(tokens) else logits_nV[open_places]
            drafts = [self.drafts[k] for k in open_rows]
            guides = [draft.guide for draft in drafts] if self._guided else []
            chosen, allowed = choose(scores_bV, self._draw, open_rows, [len(d.ids) for d in drafts], guides)
        if self._wanted:
            self._note(logits_nV, tokens, open_places, chosen, allowed)
        if chosen is not None:
            for k, token in zip(open_rows, chosen.tolist(), strict=True):
                self._add(self.drafts[k], token)
        if self._heard is not None and not self._heard(self.drafts[0].ids):
            self.drafts[0].cut("length")

    def _add(self, draft: Draft, token: int) -> None:
        draft.ids.append(token)
        if draft.guide is not None:
            draft.guide.advance(token)
            draft.follow()
        elif token in self._ends:
            draft.ended = "stop"
        if len(draft.ids) >= self._most:
            draft.cut("length")
        elif draft.watch is not None and draft.watch.loops(draft.ids):
            draft.cut("loop")

    def _note(
        self,
        logits_nV: torch.Tensor,
        tokens: list[int],
        open_places: list[int],
        chosen: torch.Tensor | None,
        allowed: torch.Tensor | None,
    ) -> None:
        """Keep the log-probabilities of this pass's tokens on the device."""
        if chosen is not None and len(open_places) == len(tokens):
            tokens_n = chosen
        else:
            tokens_n = torch.tensor(tokens, device=logits_nV.device)
            if chosen is not None:
                tokens_n[open_places] = chosen
        self._logprobs.append(logits_nV.gather(1, tokens_n[:, None])[:, 0] - logits_nV.logsumexp(-1))
        if self._guided:
            allowed_n = logits_nV.new_zeros(len(tokens))
            if allowed is not None:
                allowed_n[open_places] = allowed
            self._allowed.append(allowed_n)

    def logprobs(self) -> list[list[float]]:
        """For each completion the log-probabilities of its tokens, at temperature 1 and without top-k and top-p."""
        return self._sorted(self._logprobs)

    def allowed(self) -> list[list[float]] | None:
        """The same among the tokens that the guides allowed; None without guides."""
        return self._sorted(self._allowed) if self._allowed else None

    def _sorted(self, noted: Sequence[torch.Tensor]) -> list[list[float]]:
        values: list[list[float]] = [[] for _ in self.drafts]
        for k, value in zip(self._order, torch.cat(list(noted)).tolist(), strict=True):
            values[k].append(value)
        return values
