// The toolbar of filters, and the images that pass them.
const PAGE = 60;
let images = [];
let drawn = 0;

const option = (value, text, chosen) => h("option", { value, selected: value === chosen }, text);
const picker = (label, key, options) =>
  h("label", {}, h("span", {}, label), h("select", { id: `f-${key}`, change: (event) => { state[key] = event.target.value; refresh(); } },
    options.map(([value, text]) => option(value, text, state[key]))));
const typed = (label, key, list, names, also = {}) =>
  h("label", {}, h("span", {}, label), h("input", {
    id: `f-${key}`, type: "search", list, value: state[key], placeholder: "any", autocomplete: "off", spellcheck: "false", size: "14",
    input: (event) => {
      const value = event.target.value;
      if (value !== "" && names && !names.has(value)) return;
      Object.assign(state, also, { [key]: value });
      refresh();
    },
  }));
// An id that is too long for its card keeps its end, where ids differ.
const shortId = (id, most = 44) => (id.length <= most ? id : `${id.slice(0, 10)}…${id.slice(11 - most)}`);
const datalist = (id, names) => h("datalist", { id }, [...names].sort().map((name) => h("option", { value: name })));

const ROLES = [["any", "true or predicted"], ["matched", "matched"], ["missed", "missed"], ["spurious", "spurious"]];
const drawFilters = () => {
  const kinds = [["", "all completions"], ["failed", "failures"], ["read", "graphs"], ...data.failures.map((kind) => [`kind:${kind}`, words(kind)])];
  const orders = Object.entries(ORDERS).filter(([key]) => state.other !== "" || !["behind", "ahead"].includes(key)).map(([key, [title]]) => [key, title]);
  byId("filters").replaceChildren(...[
    picker("Show", "kind", kinds),
    h("span", { class: "duo" }, typed("Predicate", "predicate", "predicate-names", predicateNumber, { taken: "", outcome: "" }), picker("as", "ptype", ROLES)),
    h("span", { class: "duo" }, typed("Class", "class", "class-names", classNumber), picker("as", "ctype", ROLES)),
    picker("Order", "sort", orders),
    allTags().length || state.tag ? picker("Tag", "tag", [["", "any"], ...allTags().map((tag) => [tag, tag])]) : null,
    typed("Image id", "find"),
    h("button", { type: "button", id: "reset", click: () => only({ sort: "worst" }) }, "Reset"),
    datalist("predicate-names", data.predicates), datalist("class-names", data.classes)].filter(Boolean));
  const choose = (key) => (event) => {
    state[key] = event.target.value;
    if (state.other === state.run) state.other = "";
    if (state.other === "" && ["behind", "ahead"].includes(state.sort)) state.sort = "worst";
    drawFilters();
    drawMistakes();
    refresh();
    byId(event.target.id)?.focus();
  };
  byId("runs").hidden = runs.length < 2;
  byId("runs").replaceChildren(
    h("label", {}, h("span", {}, "Run"), h("select", { id: "f-run", change: choose("run") }, runs.map((run, k) => option(String(k), run.name, state.run)))),
    h("label", {}, h("span", {}, "beside"), h("select", { id: "f-other", change: choose("other") }, option("", "no other", state.other),
      runs.map((run, k) => (String(k) === state.run ? null : option(String(k), run.name, state.other))))));
};

const describe = () => {
  const parts = [];
  if (state.outcome || state.taken) {
    const what = state.predicate ? `“${state.predicate}”` : "a true relation";
    const outcome = state.taken ? `predicted as “${state.taken}”` : OUTCOMES[state.outcome][1].toLowerCase();
    parts.push(`${what}: ${outcome}`);
  }
  return parts.join(", ");
};

// Boxes of the truth on a thumbnail: found ones whole, missed ones dashed.
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_";
const thumbnailBoxes = (image, statuses) => {
  const [w, hgt] = data.sizes[image];
  const at = (k, side) => (DIGITS.indexOf(data.boxes[image][k]) / (DIGITS.length - 1)) * side;
  return svg("svg", { viewBox: `0 0 ${w} ${hgt}`, "aria-hidden": "true" }, [...statuses].map((letter, k) => {
    const [x1, y1, x2, y2] = [at(4 * k, w), at(4 * k + 1, hgt), at(4 * k + 2, w), at(4 * k + 3, hgt)];
    return svg("rect", { class: STATUS[letter], x: n1(x1), y: n1(y1), width: n1(Math.max(1, x2 - x1)), height: n1(Math.max(1, y2 - y1)) });
  }));
};
const card = (image, place) => {
  const run = runs[Number(state.run)];
  const other = state.other === "" ? null : runs[Number(state.other)];
  const source = picture(image);
  const [w, hgt] = data.sizes[image];
  const score = (one) => {
    const figures = one.failure[image] >= 0 ? h("span", { class: "badge" }, words(data.failures[one.failure[image]]))
      : one.recall[image] === null ? "nothing to find" : `recall ${percent(one.recall[image])} · precision ${percent(one.precision[image])}`;
    return h("span", { class: "quiet figures" }, other ? h("span", { class: "of" }, one.name) : null, figures);
  };
  const tags = tagsOf(image);
  return h("button", { type: "button", class: "card", "data-image": image, tabindex: place === 0 ? "0" : "-1", click: () => openViewer(image) },
    h("span", { class: "thumb" }, source
      ? h("img", { src: source, alt: "", loading: "lazy", decoding: "async", width: w, height: hgt, error: (event) => { event.target.replaceWith(h("span", { class: "quiet" }, "no image")); } })
      : h("span", { class: "quiet" }, "no image"), thumbnailBoxes(image, run.objects[image])),
    h("span", { class: "name", title: ids[image] }, shortId(ids[image])), score(run), other ? score(other) : null,
    tags.length ? h("span", { class: "quiet" }, tags.join(", ")) : null);
};
const drawMore = () => {
  const next = images.slice(drawn, drawn + PAGE);
  byId("grid").append(...next.map((image, k) => card(image, drawn + k)));
  drawn += next.length;
  byId("more").hidden = drawn >= images.length;
};

// Apply the filters and draw the images anew. `performance.measure` records the time (docs/report.md).
const refresh = () => {
  performance.mark("filter");
  writeAddress();
  images = filtered();
  for (const key of ["kind", "predicate", "ptype", "class", "ctype", "tag", "sort", "find"]) {
    const control = byId(`f-${key}`);
    if (!control) continue;
    if (control !== document.activeElement || control.tagName === "SELECT") control.value = state[key];
  }
  byId("f-ptype").disabled = state.taken !== "" || state.outcome !== "";
  const what = describe();
  byId("count").textContent = `${counted(images.length)} of ${counted(total)} images${what ? ` · ${what}` : ""}`;
  drawViews();
  byId("grid").replaceChildren();
  drawn = 0;
  drawMore();
  performance.measure("filter", "filter");
};

// Arrow keys go from card to card; one card at a time is reached by Tab.
byId("grid").addEventListener("keydown", (event) => {
  const cards = [...byId("grid").children];
  const here = cards.indexOf(document.activeElement);
  if (here < 0) return;
  const across = cards.filter((one) => one.offsetTop === cards[0].offsetTop).length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across }[event.key];
  const next = event.key === "Home" ? 0 : event.key === "End" ? cards.length - 1 : step ? here + step : -1;
  if (!cards[next]) return;
  event.preventDefault();
  focusCard(cards[next]);
});
const focusCard = (one) => {
  for (const other of byId("grid").querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
  one.tabIndex = 0;
  one.focus();
};
byId("more").addEventListener("click", drawMore);
const nearEnd = new IntersectionObserver((entries) => {
  if (!entries.some((entry) => entry.isIntersecting) || drawn >= images.length) return;
  drawMore();
  nearEnd.unobserve(byId("more")); // an observer reports changes only: observed again, it reports an end that is still near
  nearEnd.observe(byId("more"));
}, { rootMargin: "600px" });
nearEnd.observe(byId("more"));
