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
const datalist = (id, names) => h("datalist", { id }, [...names].sort().map((name) => h("option", { value: name })));

const ROLES = [["any", "true or predicted"], ["matched", "matched"], ["missed", "missed"], ["spurious", "spurious"]];
const drawFilters = () => {
  const kinds = [["", "all completions"], ["failed", "failures"], ["read", "graphs"], ...data.failures.map((kind) => [`kind:${kind}`, words(kind)])];
  const orders = Object.entries(ORDERS).filter(([key]) => state.other !== "" || !["behind", "ahead"].includes(key)).map(([key, [title]]) => [key, title]);
  byId("filters").replaceChildren(
    picker("Show", "kind", kinds),
    h("span", { class: "duo" }, typed("Predicate", "predicate", "predicate-names", predicateNumber, { taken: "", outcome: "" }), picker("as", "ptype", ROLES)),
    h("span", { class: "duo" }, typed("Class", "class", "class-names", classNumber), picker("as", "ctype", ROLES)),
    picker("Order", "sort", orders),
    typed("Image id", "find"),
    h("button", { type: "button", id: "reset", click: () => only({ sort: "worst" }) }, "Reset"),
    datalist("predicate-names", data.predicates), datalist("class-names", data.classes));
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

const card = (image, place) => {
  const run = runs[Number(state.run)];
  const other = state.other === "" ? null : runs[Number(state.other)];
  const source = picture(image);
  const [w, hgt] = data.sizes[image];
  const score = (one) => (one.failure[image] >= 0 ? h("span", { class: "badge" }, words(data.failures[one.failure[image]]))
    : h("span", { class: "quiet" }, one.recall[image] === null ? "nothing to find" : `R ${percent(one.recall[image])} P ${percent(one.precision[image])}`));
  return h("button", { type: "button", class: "card", "data-image": image, tabindex: place === 0 ? "0" : "-1", click: () => openViewer(image) },
    h("span", { class: "thumb" }, source
      ? h("img", { src: source, alt: "", loading: "lazy", decoding: "async", width: w, height: hgt, error: (event) => { event.target.replaceWith(h("span", { class: "quiet" }, "no image")); } })
      : h("span", { class: "quiet" }, "no image")),
    h("span", { class: "name" }, ids[image]), score(run), other ? score(other) : null);
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
  for (const key of ["kind", "predicate", "ptype", "class", "ctype", "sort", "find"]) {
    const control = byId(`f-${key}`);
    if (control !== document.activeElement || control.tagName === "SELECT") control.value = state[key];
  }
  byId("f-ptype").disabled = state.taken !== "" || state.outcome !== "";
  const what = describe();
  byId("count").textContent = `${counted(images.length)} of ${counted(total)} images${what ? ` · ${what}` : ""}`;
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
