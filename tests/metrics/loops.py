"""The strict metrics a second time, as plain loops over lists: slow, obvious, sharing no code with r1sgg.metrics."""

from itertools import permutations


def iou(a, b):
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(w, 0) * max(h, 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    union = area(a) + area(b) - inter
    return inter / union if union > 0 else 0.0


def same(truth, graph, g, p):
    """Whether predicted triplet p finds true triplet g."""
    (s, o), (a, b) = truth.pairs[g], graph.pairs[p]
    return (
        truth.labels[s] == graph.labels[a]
        and truth.labels[o] == graph.labels[b]
        and truth.predicates[g] == graph.predicates[p]
        and iou(truth.boxes[s], graph.boxes[a]) >= 0.5 - 1e-9
        and iou(truth.boxes[o], graph.boxes[b]) >= 0.5 - 1e-9
    )


def ranked(graph, constraint):
    order = list(range(len(graph.pairs)))
    if graph.relationship_scores is not None:
        order.sort(key=lambda k: -graph.relationship_scores[k])
    if not constraint:
        return order
    kept, pairs = [], []
    for k in order:
        if graph.pairs[k] not in pairs:
            kept.append(k)
            pairs.append(graph.pairs[k])
    return kept


def recall(truth, graph, k, constraint):
    top = ranked(graph, constraint)[:k]
    found = [any(same(truth, graph, g, p) for p in top) for g in range(len(truth.pairs))]
    return sum(found) / len(found)


def mean_recall(images, k, constraint, predicates):
    total = 0.0
    for predicate in predicates:
        values = []
        for truth, graph in images:
            mine = [g for g in range(len(truth.pairs)) if truth.predicates[g] == predicate]
            if mine:
                top = ranked(graph, constraint)[:k]
                values.append(sum(any(same(truth, graph, g, p) for p in top) for g in mine) / len(mine))
        total += sum(values) / len(values) if values else 0.0
    return total / len(predicates)


def in_words(graph, k):
    """A triplet by its classes and boxes, whatever the ids."""
    s, o = graph.pairs[k]
    return graph.labels[s], tuple(graph.boxes[s]), graph.predicates[k], graph.labels[o], tuple(graph.boxes[o])


def true_positives(truth, graph):
    """Size of the largest one-to-one matching, by trying every order of the distinct predictions (a few only)."""
    distinct = list({in_words(graph, k): k for k in range(len(graph.pairs))}.values())
    true = list({(truth.pairs[g], truth.predicates[g]): g for g in range(len(truth.pairs))}.values())
    best = 0
    for order in permutations(distinct):
        free = list(true)
        count = 0
        for p in order:
            for g in free:
                if same(truth, graph, g, p):
                    free.remove(g)
                    count += 1
                    break
        best = max(best, count)
    return best
