// One image, large: the truth, the prediction of a run, and that of another run beside it. Layers can be switched off.
const viewer = byId("viewer");
const LAYERS = [
  ["truth", "Truth", "t"], ["prediction", "Prediction", "p"],
  ["boxes", "Boxes", "b"], ["names", "Names", "n"], ["relations", "Relations", "r"],
  ["matched", "Matched", "1"], ["missed", "Missed", "2"], ["spurious", "Spurious", "3"],
];
const hidden = new Set();
let current = -1;
let shown = null; // the details of the current image
let kept = null; // the triplet that was pressed
let retagged = false; // since the viewer was opened

const toggle = (layer) => {
  if (!hidden.delete(layer)) hidden.add(layer);
  applyLayers();
  if (layer === "truth" || layer === "prediction") {
    large = null;
    drawPanels();
  }
};
const applyLayers = () => {
  for (const [layer] of LAYERS) {
    viewer.classList.toggle(`hide-${layer}`, hidden.has(layer));
    viewer.querySelector(`[data-layer="${layer}"]`).setAttribute("aria-pressed", String(!hidden.has(layer)));
  }
};

const layerButton = ([layer, title, key]) =>
  h("button", { type: "button", "data-layer": layer, "aria-pressed": "true", "aria-keyshortcuts": key, title: `${title} (key ${key})`, click: () => toggle(layer) },
    MARKS[layer] ? h("span", { class: `mark ${layer}`, "aria-hidden": "true" }, `${MARKS[layer]} `) : null, title);
viewer.append(
  h("header", {},
    h("h2", { id: "viewer-name" }),
    h("span", { class: "quiet", id: "viewer-place" }),
    h("span", { class: "go" },
      h("button", { type: "button", id: "previous", title: "Previous image (left arrow)", click: () => go(-1) }, "←", h("span", { class: "sr" }, " previous image")),
      h("button", { type: "button", id: "next", title: "Next image (right arrow)", click: () => go(1) }, "→", h("span", { class: "sr" }, " next image")),
      h("button", { type: "button", id: "close", title: "Close (Esc)", click: () => viewer.close() }, "Close"))),
  h("div", { class: "layers" },
    [LAYERS.slice(0, 2), LAYERS.slice(2, 5), LAYERS.slice(5)].map((group) => h("span", { class: "toggles", role: "group" }, group.map(layerButton)))),
  h("p", { class: "quiet", id: "viewer-problem", hidden: true }),
  h("label", { class: "tags" }, "Tags ", h("input", { type: "search", id: "viewer-tags", placeholder: "hard, check the truth", autocomplete: "off", size: "28",
    change: (event) => { setTags(current, event.target.value); retagged = true; } })),
  h("div", { class: "panels", id: "panels" }),
  h("div", { class: "predictions", id: "predictions" }));
viewer.setAttribute("aria-labelledby", "viewer-name");

const openViewer = async (image) => {
  if (!viewer.open) viewer.showModal();
  await showImage(image);
};
const go = (step) => {
  if (current < 0) return;
  const next = images[images.indexOf(current) + step];
  if (next !== undefined) showImage(next);
};
const showImage = async (image) => {
  current = image;
  state.image = ids[image];
  writeAddress();
  const place = images.indexOf(image);
  byId("viewer-name").textContent = ids[image];
  byId("viewer-place").textContent = place < 0 ? "" : `${counted(place + 1)} of ${counted(images.length)}`;
  byId("viewer-tags").value = tagsOf(image).join(", ");
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place + 1 >= images.length;
  let found;
  try {
    found = await detail(image);
  } catch (error) {
    found = null;
    byId("viewer-problem").textContent = error.message;
  }
  if (current !== image) return; // another was asked for meanwhile
  shown = found;
  kept = null;
  byId("viewer-problem").hidden = found !== null && !found.problem;
  if (found?.problem) byId("viewer-problem").textContent = found.problem;
  drawPanels();
  drawPredictions();
  viewer.dataset.ready = ids[image];
  const after = images[place + 1];
  if (place >= 0 && after !== undefined) {
    detail(after).catch(() => {}); // read ahead; a failure is reported when the image is opened
    const source = picture(after);
    if (source) new Image().src = source;
  }
};

const chosenRuns = () => [state.run, state.other].filter((key) => key !== "").map(Number);

let large = null; // the panel that is enlarged
const enlarge = (panel) => {
  large = large === null ? panel : null;
  drawPanels();
  byId("panels").querySelector(`[data-panel="${panel}"] .enlarge`)?.focus();
};
const drawPanels = () => {
  const place = byId("panels");
  if (shown === null) return place.replaceChildren();
  const chosen = chosenRuns();
  const several = runs.length > 1;
  const panels = [];
  if (!hidden.has("truth")) {
    const first = shown.runs[chosen[0]];
    const relations = [...first.outcomes].map((letter) => (letter === FOUND ? "m" : "x"));
    panels.push(["truth", -1, "Truth", several ? `judged for ${runs[chosen[0]].name}` : "", shown.truth, first.trueObjects, relations]);
  }
  if (!hidden.has("prediction")) {
    for (const k of chosen) {
      const one = shown.runs[k];
      const note = one.failure ? words(one.failure) : "";
      panels.push(["run", k, several ? runs[k].name : "Prediction", note, one.graph, one.objects, one.relations, one.failure]);
    }
  }
  if (large !== null) panels.splice(0, panels.length, ...panels.filter(([kind, run]) => large === (kind === "truth" ? "truth" : String(run))));
  const style = getComputedStyle(place);
  const across = style.getPropertyValue("--stack").trim() === "1" ? 1 : panels.length;
  const wide = Math.floor((place.clientWidth - 16 * (across - 1)) / Math.max(1, across));
  const [w, hgt] = data.sizes[current];
  const high = (large === null ? 0.64 : 0.9) * window.innerHeight;
  const scale = Math.min(wide / w, Math.max(220, high) / hgt, 1600 / Math.max(w, hgt));
  const size = [Math.max(40, w * scale), Math.max(40, hgt * scale)];
  const source = shown.problem ? "" : picture(current);
  place.replaceChildren(...panels.map(([kind, run, title, note, graph, objects, relations, failure]) => {
    const picture = overlay(graph, objects, relations, size, source, `${title}: ${contents(graph.count)}`);
    const crowded = Number(picture.dataset.crowded);
    return h("figure", { class: `graph ${kind}`, "data-panel": kind === "truth" ? "truth" : String(run) },
      h("figcaption", {}, h("strong", {}, title), " ",
        panels.length > 1 || large !== null
          ? h("button", { type: "button", class: "link enlarge", "aria-pressed": String(large !== null), click: () => enlarge(kind === "truth" ? "truth" : String(run)) },
              large === null ? "Enlarge" : "All", h("span", { class: "sr" }, ` ${title}`))
          : null, " ",
        note ? h("span", { class: failure ? "badge" : "quiet" }, note) : null, " ",
        h("span", { class: "quiet" }, contents(graph.count)),
        crowded ? h("span", { class: "quiet", title: "Point at a relation to see them, or enlarge the picture" }, ` ${crowded} name${crowded === 1 ? "" : "s"} without room`) : null),
      picture);
  }));
  applyLayers();
  light(kept);
};

const WHY = {
  p: (other) => `predicted: ${other}`,
  r: (other) => `predicted in the other direction: ${other}`,
  u: () => "nothing predicted between them",
  o: () => "an object was not found",
  x: () => "no graph",
};
const triplets = (k) => {
  const { truth } = shown;
  const one = shown.runs[k];
  const rows = [];
  const keys = (relation, r) => `r${r} b${relation[0]} b${relation[2]}`;
  const part = (graph, relation) => [graph.names[relation[0]], relation[1], graph.names[relation[2]]];
  for (const wanted of ["matched", "missed"]) {
    truth.relations.forEach((relation, r) => {
      const letter = one.outcomes[r];
      if (relation === null || (letter === FOUND) !== (wanted === "matched")) return;
      const j = one.taken[r];
      const taken = j >= 0 ? one.graph.relations[j] : null;
      rows.push({
        status: wanted, words: part(truth, relation), count: 1, truth: keys(relation, r), run: taken ? keys(taken, j) : "",
        why: WHY[letter]?.(taken ? taken[1] : "another") ?? "",
      });
    });
  }
  const repeated = new Map();
  one.graph.relations.forEach((relation, j) => {
    if (relation === null || one.relations[j] !== "s") return;
    const key = relation.join("\n");
    if (!repeated.has(key)) repeated.set(key, { status: "spurious", words: part(one.graph, relation), count: 0, truth: "", run: keys(relation, j), why: "" });
    const row = repeated.get(key);
    if (row.count++) row.run += ` r${j}`;
  });
  return [...rows, ...repeated.values()];
};
const scoreOf = (k, row) => {
  const scores = shown.runs[k].graph.relationScores;
  const first = row.run.match(/^r(\d+)/);
  return scores && first ? scores[Number(first[1])]?.toFixed(2) ?? "" : "";
};

const drawPredictions = () => {
  const place = byId("predictions");
  if (shown === null) return place.replaceChildren();
  place.replaceChildren(...chosenRuns().map((k) => {
    const one = shown.runs[k];
    const run = runs[k];
    const rows = triplets(k);
    const list = rows.map((row) => h("li", { class: row.status }, h("button", {
      type: "button", class: `triplet ${row.status}`, "aria-pressed": "false", "data-truth": row.truth, "data-run": k, "data-keys": row.run,
      mouseenter: (event) => light(event.currentTarget), mouseleave: () => light(kept),
      focus: (event) => light(event.currentTarget), blur: () => light(kept),
      click: (event) => keep(event.currentTarget),
    }, mark(row.status), " ", row.words[0], " ", h("em", {}, row.words[1]), " ", row.words[2],
    row.count > 1 ? h("span", { class: "quiet" }, ` ×${row.count}`) : null,
    scoreOf(k, row) ? h("span", { class: "score" }, ` ${scoreOf(k, row)}`) : null,
    row.why ? h("span", { class: "why" }, ` ${row.why}`) : null)));
    const issues = one.issues.map(([kind, text]) => h("li", {}, h("code", {}, kind), " ", text));
    return h("section", { class: "prediction" },
      h("h3", {}, runs.length > 1 ? run.name : "Relations"),
      h("p", { class: "quiet" }, `recall ${percent(run.recall[current])}, precision ${percent(run.precision[current])}`,
        one.failure ? [" · ", h("span", { class: "badge" }, words(one.failure)), ` ${one.meaning}`] : null),
      h("ul", { class: "triplets" }, list),
      one.text || issues.length ? h("details", { open: one.failure !== "" }, h("summary", {}, "Completion", issues.length ? h("span", { class: "quiet" }, ` · ${issues.length} notes`) : null),
        issues.length ? h("ul", { class: "issues" }, issues) : null,
        one.text ? h("pre", { tabindex: "0" }, one.text) : null,
        one.cut ? h("p", { class: "quiet" }, `${counted(one.cut)} more characters`) : null) : null);
  }));
};

// A triplet that is pointed at, focused or pressed lights its parts in the pictures.
const light = (triplet) => {
  viewer.classList.toggle("lit", triplet !== null);
  for (const panel of byId("panels").children) {
    const mine = panel.dataset.panel;
    const keys = !triplet ? "" : mine === "truth" ? triplet.dataset.truth : mine === triplet.dataset.run ? triplet.dataset.keys : "";
    const set = new Set(keys.split(" "));
    for (const part of panel.querySelectorAll("[data-k]")) part.classList.toggle("on", part.dataset.k.split(" ").some((key) => set.has(key)));
  }
};
// The other way: what is pointed at in a picture marks its triplets, and a click keeps the first of them.
const pointedAt = (event) => {
  const part = event.type === "pointerover" ? event.target.closest("[data-k]") : null;
  const panel = part?.closest("[data-panel]").dataset.panel;
  const keys = part ? part.dataset.k.split(" ") : [];
  for (const one of viewer.querySelectorAll(".triplet")) {
    const mine = panel === "truth" ? one.dataset.truth : panel === one.dataset.run ? one.dataset.keys : "";
    one.classList.toggle("hot", keys.some((key) => mine.split(" ").includes(key)));
  }
};
for (const kind of ["pointerover", "pointerout"]) byId("panels").addEventListener(kind, pointedAt);
byId("panels").addEventListener("click", (event) => {
  const first = event.target.closest("[data-k]") && viewer.querySelector(".triplet.hot");
  if (first) keep(first);
});
const keep = (triplet) => {
  kept = kept === triplet ? null : triplet;
  for (const other of viewer.querySelectorAll(".triplet")) other.setAttribute("aria-pressed", String(other === kept));
  light(kept ?? triplet);
};

document.addEventListener("keydown", (event) => { // on the document, not on the dialog: a button that becomes disabled loses the focus, and the dialog its keys
  if (!viewer.open || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    event.preventDefault();
    return go(event.key === "ArrowLeft" ? -1 : 1);
  }
  const layer = LAYERS.find(([, , key]) => key === event.key.toLowerCase());
  if (layer) toggle(layer[0]);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
viewer.addEventListener("close", () => {
  const image = current;
  current = -1;
  state.image = "";
  delete viewer.dataset.ready;
  writeAddress();
  if (retagged) {
    retagged = false;
    drawFilters();
    refresh();
  }
  while (drawn < images.length && images.indexOf(image) >= drawn) drawMore();
  const back = byId("grid").querySelector(`[data-image="${image}"]`);
  if (back) focusCard(back);
});
let resizing = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(resizing);
  resizing = requestAnimationFrame(() => { if (viewer.open) drawPanels(); });
});
