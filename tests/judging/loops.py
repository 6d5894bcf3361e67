"""The judgement a second time, as plain loops over lists: slow, obvious, sharing no code with r1sgg.judging."""

from collections import Counter


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    union = area(a) + area(b) - inter
    return round(inter / union, 9) if union > 0 else 0.0


def firsts(graph, order=None, least=0.9):
    """For each object the first one of its class that it overlaps by so much, itself if there is none."""
    first = {}
    for k in range(len(graph)) if order is None else order:
        same = [
            j
            for j in first
            if first[j] == j and graph.labels[j] == graph.labels[k] and iou(graph.boxes[j], graph.boxes[k]) >= least
        ]
        first[k] = same[0] if same else k
    return first


def ranked(count, scores):
    return sorted(range(count), key=lambda k: 0 if scores is None else -scores[k])


class Judgement:
    """One image."""

    def __init__(self, truth, graph, claims=True):
        self.truth, self.graph, self.claims = truth, graph, claims
        order = ranked(len(graph), graph.object_scores)
        self.true_first, first = firsts(truth, least=0.85), firsts(graph, order)
        things = [t for t in self.true_first if self.true_first[t] == t]
        candidates = [p for p in order if first[p] == p]
        taker = {}
        for p in candidates:
            free = [t for t in range(len(truth)) if t not in taker and self.same(t, p)]
            if free:
                taker[max(free, key=lambda t: (self.overlap(t, p), -t))] = p
        claimant, self.unit = {}, {}
        for t, p in taker.items():
            self.unit[p] = claimant.setdefault(self.true_first[t], p)
        for t in things:
            members = [m for m in self.true_first if self.true_first[m] == t]
            takers = [p for p in candidates if any(self.same(m, p) for m in members)]
            if t not in claimant and takers:
                claimant[t] = self.unit[takers[0]]
        for p in candidates:
            overlapped = [t for t in range(len(truth)) if self.same(t, p)]
            if p not in self.unit:
                best = max(overlapped, key=lambda t: (self.overlap(t, p), -t), default=None)
                self.unit[p] = p if best is None else claimant[self.true_first[best]]
        self.unit = {p: self.unit[first[p]] for p in first}
        self.claimant = {t: claimant.get(self.true_first[t]) for t in self.true_first}
        self.order = ranked(len(graph.pairs), graph.triplet_scores)

    def overlap(self, t, p):
        return iou(self.truth.boxes[t], self.graph.boxes[p])

    def same(self, t, p):
        return self.truth.labels[t] == self.graph.labels[p] and self.overlap(t, p) >= 0.5

    def hit(self, g, r):
        """Whether predicted triplet r finds true triplet g."""
        if self.truth.predicates[g] != self.graph.predicates[r]:
            return False
        ends = zip(self.truth.pairs[g], self.graph.pairs[r], strict=True)
        if self.claims:
            return all(self.claimant[t] is not None and self.claimant[t] == self.unit[p] for t, p in ends)
        return all(self.same(t, p) for t, p in ends)

    def found(self, places):
        """Which true triplets a list of predicted ones finds."""
        return [any(self.hit(g, r) for r in places) for g in range(len(self.truth.pairs))]

    def listed(self, constraint):
        """The list that recall reads, best first; with one triplet for each pair of objects under the constraint."""
        kept, pairs = [], set()
        for r in self.order:
            pair = tuple(self.unit[p] for p in self.graph.pairs[r]) if self.claims else self.graph.pairs[r]
            if pair not in pairs or not constraint:
                kept.append(r)
                pairs.add(pair)
        return kept

    def recall(self, k=None, constraint=False):
        found = self.found(self.listed(constraint)[:k])
        return sum(found) / len(found) if found else None

    def true_key(self, g):
        s, o = self.truth.pairs[g]
        return self.true_first[s], self.truth.predicates[g], self.true_first[o]

    def key(self, r):
        s, o = self.graph.pairs[r]
        return self.unit[s], self.graph.predicates[r], self.unit[o]

    def said(self):
        """Predicted triplets that count once, those that repeat one, and those that repeat one as the truth does."""
        held = Counter(self.true_key(g) for g in range(len(self.truth.pairs)))
        once, repeats, forgiven = [], [], []
        for key in {self.key(r) for r in self.order}:
            mine = [r for r in self.order if self.key(r) == key]
            right = [r for r in mine if any(self.hit(g, r) for g in range(len(self.truth.pairs)))]
            first = right[0] if right else mine[0]
            once.append(first)
            found = [g for g in range(len(self.truth.pairs)) if any(self.hit(g, r) for r in mine)]
            allowed = max((held[self.true_key(g)] - 1 for g in found), default=0)
            others = [r for r in mine if r != first]
            forgiven += others[:allowed]
            repeats += others[allowed:]
        return once, repeats, forgiven

    def figures(self):
        """(precision, f1, duplicate share, one-to-one recall); None where there is nothing to divide by."""
        once, repeats, forgiven = self.said()
        truths = {}
        for g in range(len(self.truth.pairs)):
            truths.setdefault(self.true_key(g), []).append(g)
        edges = {r: [k for k, gs in truths.items() if any(self.hit(g, r) for g in gs)] for r in once}
        right = largest(edges)
        counted = len(self.graph.pairs) - len(forgiven)
        return {
            "precision": right / counted if counted else None,
            "f1": 2 * right / (counted + len(truths)) if counted + len(truths) else None,
            "duplicates": len(repeats) / counted if counted else None,
            "recall": right / len(truths) if truths else None,
        }

    def declared_again(self):
        """Predicted objects that are an earlier one again, beyond those that the truth holds twice."""
        held = Counter(
            self.claimant[t] for t in self.true_first if self.true_first[t] != t and self.claimant[t] is not None
        )
        groups = Counter(self.unit[p] for p in self.unit if self.unit[p] != p)
        return sum(max(0, count - held[p]) for p, count in groups.items())


def largest(edges):
    """Size of the largest one-to-one matching, by augmenting paths."""
    owner = {}

    def place(r, seen):
        for key in edges[r]:
            if key not in seen:
                seen.add(key)
                if key not in owner or place(owner[key], seen):
                    owner[key] = r
                    return True
        return False

    return sum(place(r, set()) for r in edges)


def mean_recall(images, k, constraint, predicates):
    """The mean over predicates of the mean over the images that have it of its recall there."""
    total = 0.0
    for predicate in predicates:
        values = []
        for image in images:
            truths = [g for g, name in enumerate(image.truth.predicates) if name == predicate]
            if truths:
                found = image.found(image.listed(constraint)[:k])
                values.append(sum(found[g] for g in truths) / len(truths))
        total += sum(values) / len(values) if values else 0.0
    return total / len(predicates)
