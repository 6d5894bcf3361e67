// Where things go over an image: tags that keep out of each other's way, arrows between dots. In pixels of the figure.
// The rules are those of r1sgg.drawing.layout, which draws files; here the text's own font measures it.
const DOT = 4.5;
const ALONG = [0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74]; // of a curve
const BESIDE = [0, -0.6, 0.6, -1.1, 1.1]; // in heights of the tag
const measure = (() => {
  const pen = document.createElement("canvas").getContext("2d");
  const known = new Map();
  return (text) => {
    if (!known.has(text)) {
      pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
      known.set(text, pen.measureText(text).width + 8);
    }
    return [known.get(text), 17];
  };
})();

const overlap = (a, b) =>
  Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0])) * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
const areaOf = (r) => (r[2] - r[0]) * (r[3] - r[1]);
const centreOf = (r) => [(r[0] + r[2]) / 2, (r[1] + r[3]) / 2];
const pointOn = ([a, b, c], t) => [0, 1].map((k) => (1 - t) ** 2 * a[k] + 2 * t * (1 - t) * b[k] + t * t * c[k]);
const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

const clipped = ([x1, y1, x2, y2], [w, h]) => {
  const within = (v, most) => Math.min(Math.max(v, 0), most);
  const [a, b] = [Math.min(within(x1, w), w - 1), Math.min(within(y1, h), h - 1)];
  return [a, b, Math.max(within(x2, w), a + 1), Math.max(within(y2, h), b + 1)];
};

const spotsAtBox = ([x1, y1, x2, y2], [w, h]) => {
  const spots = [[x1, y1 - h], [x1, y1], [x2 - w, y1 - h], [x2 - w, y1], [x1, y2], [x1, y2 - h], [x2 - w, y2 - h],
    [x2 - w, y2], [x2, y1], [x1 - w, y1], [x2, y2 - h], [x1 - w, y2 - h]];
  for (const t of [0.25, 0.5, 0.75]) {
    for (const y of [y1 - h, y1, y2, y2 - h]) spots.push([(1 - t) * x1 + t * (x2 - w), y]);
    for (const x of [x1, x2 - w]) spots.push([x, (1 - t) * y1 + t * (y2 - h)]);
  }
  return spots.map(([x, y]) => [x, y, x + w, y + h]);
};
const spotsOnCurve = (curve, [w, h]) => {
  const spots = [];
  for (const dy of BESIDE) {
    for (const t of ALONG) {
      const [x, y] = pointOn(curve, t);
      spots.push([x - w / 2, y + (dy - 0.5) * h, x + w / 2, y + (dy + 0.5) * h]);
    }
  }
  return spots;
};

// A dot in each box: its centre, or a place near it that keeps off the others' dots and off smaller boxes in it.
const placeDots = (rects, order) => {
  const dots = new Map();
  for (const k of order) {
    const [x1, y1, x2, y2] = rects[k];
    const [cx, cy] = centreOf(rects[k]);
    const places = [[cx, cy]];
    for (const ring of [0.2, 0.4, 0.6, 0.8]) {
      for (let n = 0; n < 12; n++) {
        const turn = (2 * Math.PI * n) / 12;
        places.push([cx + (ring * (x2 - x1) / 2) * Math.cos(turn), cy + (ring * (y2 - y1) / 2) * Math.sin(turn)]);
      }
    }
    const inner = [...dots.keys()].map((j) => rects[j]).filter((r) => r[0] >= x1 && r[1] >= y1 && r[2] <= x2 && r[3] <= y2);
    let [best, least] = [0, Infinity];
    places.forEach((place, rank) => {
      let cost = 0.03 * rank;
      for (const dot of dots.values()) cost += 4 * Math.max(0, 1 - apart(place, dot) / (5 * DOT));
      for (const r of inner) cost += place[0] >= r[0] && place[0] <= r[2] && place[1] >= r[1] && place[1] <= r[3];
      if (cost < least) [best, least] = [rank, cost];
    });
    dots.set(k, places[best]);
  }
  return dots;
};

// A curve that bows to the left of its direction; a loop leaves its dot sideways and comes back.
const curveOf = (start, tip, bend, side) => {
  const reach = 0.045 * side;
  const [dx, dy] = [tip[0] - start[0], tip[1] - start[1]];
  const length = Math.hypot(dx, dy);
  if (length < 1) return [[start[0] - DOT, start[1]], [start[0], start[1] - 3 * reach * Math.sign(bend)], [tip[0] + DOT, tip[1]]];
  const offset = (Math.sign(bend) * Math.max(Math.abs(bend) * length, Math.min(reach, 0.4 * length))) / length;
  return [start, [(start[0] + tip[0]) / 2 + 2 * offset * dy, (start[1] + tip[1]) / 2 - 2 * offset * dx], tip];
};
// The curve up to the rim of the dot at its end.
const trimmed = (curve) => {
  if (apart(curve[0], curve[2]) < 4 * DOT) return curve;
  let end = 1;
  while (end > 0.05 && apart(pointOn(curve, end), curve[2]) <= DOT + 1) end -= 0.01;
  const [a, b] = curve;
  return [a, [0, 1].map((k) => (1 - end) * a[k] + end * b[k]), pointOn(curve, end)];
};

// rects: of the objects; names: their tags; arrows: {subject, object, text}. Gives tags and dots of objects, and for
// each arrow its curve and tag.
const layOut = (rects, names, arrows, size) => {
  const side = Math.min(...size);
  const order = rects.map((_, k) => k).sort((a, b) => areaOf(rects[a]) - areaOf(rects[b]));
  const used = new Set(arrows.flatMap((arrow) => [arrow.subject, arrow.object]));
  const dots = placeDots(rects, order.filter((k) => used.has(k)));
  const small = rects.filter((r) => areaOf(r) < 0.03 * size[0] * size[1]);
  const marks = [...dots.values()].map(([x, y]) => [x - DOT, y - DOT, x + DOT, y + DOT]);
  const tags = [];
  const add = (spots) => {
    for (const r of spots) {
      const dx = Math.max(0, -r[0]) + Math.min(0, size[0] - r[2]);
      const dy = Math.max(0, -r[1]) + Math.min(0, size[1] - r[3]);
      r[0] += dx; r[2] += dx; r[1] += dy; r[3] += dy;
    }
    const area = Math.max(1, areaOf(spots[0]));
    const fixed = spots.map((r, rank) => {
      let hidden = 0;
      for (const other of small) hidden += overlap(r, other);
      for (const other of marks) hidden += 3 * overlap(r, other);
      return hidden / area + 0.012 * rank;
    });
    const tag = { spots, fixed, area, chosen: 0 };
    tags.push(tag);
    place(tag);
    return tag;
  };
  const place = (tag) => {
    let least = Infinity;
    tag.spots.forEach((r, rank) => {
      let cost = tag.fixed[rank];
      for (const other of tags) if (other !== tag) cost += (8 * overlap(r, other.spots[other.chosen])) / tag.area;
      if (cost < least) [tag.chosen, least] = [rank, cost];
    });
  };
  const boxTags = [];
  for (const k of order) boxTags[k] = add(spotsAtBox(rects[k], measure(names[k])));
  const bends = new Map();
  const arrowTags = arrows.map((arrow) => {
    const pair = [arrow.subject, arrow.object].sort((a, b) => a - b).join();
    const nth = bends.get(pair) ?? 0;
    bends.set(pair, nth + 1);
    const ways = [[1, 0.12], [1, 0.26], [-1, 0.12], [-1, 0.26]];
    const curves = ways.map(([sign, bend]) => curveOf(dots.get(arrow.subject), dots.get(arrow.object), sign * (bend + 0.12 * nth), side));
    return { tag: add(curves.flatMap((curve) => spotsOnCurve(curve, measure(arrow.text)))), curves };
  });
  for (let round = 0; round < 2; round++) tags.forEach(place);
  // Where there is no room for all, the tags that overlap most are left out, predicates first; pointing shows them.
  const crowded = new Set();
  const leaveOut = (candidates, most) => {
    for (;;) {
      let [worst, share] = [null, most];
      for (const tag of candidates) {
        if (crowded.has(tag)) continue;
        let hidden = 0;
        for (const other of tags) if (other !== tag && !crowded.has(other)) hidden += overlap(tag.spots[tag.chosen], other.spots[other.chosen]);
        if (hidden / tag.area > share) [worst, share] = [tag, hidden / tag.area];
      }
      if (worst === null) return;
      crowded.add(worst);
    }
  };
  leaveOut(arrowTags.map(({ tag }) => tag), 0.002);
  leaveOut(boxTags, 0.002);
  return {
    tags: boxTags.map((tag) => ({ rect: tag.spots[tag.chosen], crowded: crowded.has(tag) })),
    dots,
    arrows: arrowTags.map(({ tag, curves }) => ({
      curve: trimmed(curves[Math.floor(tag.chosen / (ALONG.length * BESIDE.length))]),
      rect: tag.spots[tag.chosen],
      crowded: crowded.has(tag),
    })),
  };
};
