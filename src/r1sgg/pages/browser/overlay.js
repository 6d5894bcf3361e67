// A graph drawn over its image as SVG. Parts carry data-k ("b3" an object, "r5" a relation), by which they are lit.
const STATUS = { m: "matched", x: "missed", s: "spurious" };
const MOST_DRAWN = 60;

const shortened = (text, most = 28) => (text.length <= most ? text : `${text.slice(0, most - 1).trimEnd()}…`);
const joined = (texts) => {
  const counts = new Map();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return shortened([...counts].map(([text, n]) => (n > 1 ? `${text} ×${n}` : text)).join(", "), 40);
};
const contents = ([objects, relations]) => `${objects} object${objects === 1 ? "" : "s"}, ${relations} relation${relations === 1 ? "" : "s"}`;
const n1 = (value) => Math.round(value * 10) / 10;

// graph: as in the details; objects, relations: a status letter for each.
const overlay = (graph, objects, relations, size, source, label) => {
  const [width, height] = size;
  const shown = Math.min(graph.names.length, MOST_DRAWN);
  const rects = [];
  for (let k = 0; k < shown; k++) {
    const [x1, y1, x2, y2] = graph.boxes.slice(4 * k, 4 * k + 4).map((v, i) => (v / 10000) * size[i % 2]);
    rects.push(clipped([x1, y1, x2, y2], size));
  }
  const groups = new Map();
  graph.relations.forEach((relation, r) => {
    if (relation === null || relation[0] >= shown || relation[2] >= shown) return;
    const key = `${relation[0]},${relation[2]},${relations[r]}`;
    if (!groups.has(key)) groups.set(key, { subject: relation[0], object: relation[2], status: STATUS[relations[r]], rows: [] });
    groups.get(key).rows.push(r);
  });
  const arrows = [...groups.values()].slice(0, MOST_DRAWN);
  for (const arrow of arrows) arrow.text = joined(arrow.rows.map((r) => graph.relations[r][1]));
  const names = graph.names.slice(0, shown).map((name) => shortened(name));
  const placed = layOut(rects, names, arrows, size);
  const tag = ({ rect: r, crowded }, text, className, keys) =>
    svg("g", { class: crowded ? `${className} crowded` : className, "data-k": keys },
      svg("rect", { x: n1(r[0]), y: n1(r[1]), width: n1(r[2] - r[0]), height: n1(r[3] - r[1]), rx: className.startsWith("predicate") ? 8.5 : 3 }),
      svg("text", { x: n1((r[0] + r[2]) / 2), y: n1((r[1] + r[3]) / 2) }, text));
  const large = rects.map((_, k) => k).sort((a, b) => areaOf(rects[b]) - areaOf(rects[a]));
  const box = (k) => {
    const [x1, y1, x2, y2] = rects[k];
    const at = { x: n1(x1 + 1), y: n1(y1 + 1), width: n1(Math.max(1, x2 - x1 - 2)), height: n1(Math.max(1, y2 - y1 - 2)) };
    return svg("g", { class: `box ${STATUS[objects[k]]}`, "data-k": `b${k}` }, svg("rect", { class: "halo", ...at }), svg("rect", { class: "edge", ...at }));
  };
  const arrow = ({ status, rows }, { curve }) => {
    const [a, b, c] = curve.map((point) => point.map(n1).join(" "));
    const path = `M${a}Q${b} ${c}`;
    const before = pointOn(curve, 0.9);
    const angle = Math.atan2(curve[2][1] - before[1], curve[2][0] - before[0]);
    const wing = (turn) => [curve[2][0] + 11 * Math.cos(angle + turn), curve[2][1] + 11 * Math.sin(angle + turn)];
    const head = [curve[2], wing(Math.PI - 0.42), wing(Math.PI + 0.42)].map((point) => point.map(n1).join(",")).join(" ");
    return svg("g", { class: `arrow ${status}`, "data-k": rows.map((r) => `r${r}`).join(" ") },
      svg("path", { class: "halo", d: path }), svg("path", { class: "line", d: path }), svg("polygon", { points: head }));
  };
  const dot = ([k, [x, y]]) => svg("circle", { class: `dot ${STATUS[objects[k]]}`, "data-k": `b${k}`, cx: n1(x), cy: n1(y), r: DOT });
  const image = source
    ? svg("image", { href: source, width, height, preserveAspectRatio: "none" })
    : svg("rect", { class: "no-image", width, height });
  const crowded = [...placed.tags, ...placed.arrows].filter((one) => one.crowded).length; // names that have no room
  return svg("svg", { "data-crowded": crowded, viewBox: `0 0 ${n1(width)} ${n1(height)}`, width: n1(width), height: n1(height), role: "img", "aria-label": label },
    image,
    large.map(box),
    arrows.map((one, k) => arrow(one, placed.arrows[k])),
    [...placed.dots].map(dot),
    large.map((k) => tag(placed.tags[k], names[k], `tag ${STATUS[objects[k]]}`, `b${k}`)),
    arrows.map((one, k) => tag(placed.arrows[k], one.text, `predicate ${one.status}`, one.rows.map((r) => `r${r}`).join(" "))));
};
