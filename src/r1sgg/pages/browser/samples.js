// Completions of a run: truth and prediction on the image, what each reward term gives, and the advantage in the group.
if (byId("samples-data")) {
  const runs = jsonOf("samples-data");
  const place = byId("samples");
  let run = runs[0];
  const number = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3).replace(/(\.\d*?)0+(?=$|e)/, "$1").replace(/\.(?=$|e)/, ""));
  const signed = (value) => (value > 0 ? `+${number(value)}` : number(value));
  const WAYS = [
    ["step", "step by step"], ["lowest", "lowest totals of all steps"], ["highest", "highest totals of all steps"],
    ["spread", "groups with the largest spread"],
  ];
  const MOST = 12;
  const SIDE = 300; // of a picture, in the units of its names

  // ---- which samples
  const ordered = (sign) => run.rows.filter((row) => row.total !== null).sort((a, b) => sign * (a.total - b.total)).slice(0, MOST);
  const uneven = () => {
    const groups = new Map();
    for (const row of run.rows) {
      if (!row.group) continue;
      const key = `${row.step},${row.group.number}`;
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    const order = [...groups.values()].sort((a, b) => b[0].group.spread - a[0].group.spread);
    const found = [];
    for (const rows of order) {
      if (found.length && found.length + rows.length > MOST) break;
      found.push(...rows.sort((a, b) => b.total - a.total));
    }
    return found;
  };
  const chosen = () => {
    if (way.value === "lowest") return ordered(1);
    if (way.value === "highest") return ordered(-1);
    if (way.value === "spread") return uneven();
    return run.rows.filter((row) => row.step === run.steps[Number(slider.value)]);
  };

  // ---- one sample
  const panel = (row, title, graph, objects, relations) => {
    const longest = Math.max(...row.size);
    const size = row.size.map((side) => Math.max(40, (SIDE * side) / longest));
    const what = `${title}: ${contents(graph.count)}`;
    return h("figure", { class: "graph" }, h("figcaption", {}, h("strong", {}, title), " ", h("span", { class: "quiet" }, contents(graph.count))),
      overlay(graph, objects, relations, size, run.pictures[row.picture] ?? "", what));
  };
  const figures = (row) => {
    const { truth, completion, trueObjects, trueRelations, objects, relations } = row.graphs;
    return h("div", { class: "panels" },
      panel(row, "Truth", truth, trueObjects, trueRelations),
      panel(row, "Completion", completion, objects, relations));
  };
  const terms = (row) => {
    const values = run.terms.map((term) => row.terms[term] ?? null);
    const weights = run.terms.map((term) => row.weights?.[term] ?? null);
    const points = values.map((value, k) => (value === null ? null : value * (weights[k] ?? 1)));
    const most = Math.max(1e-9, ...points.map((value) => Math.abs(value ?? 0)), ...weights.map((value) => Math.abs(value ?? 0)));
    return h("table", { class: "terms" },
      h("thead", {}, h("tr", {}, ["term", "value", "weight", "points"].map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, run.terms.map((term, k) => h("tr", {},
        h("th", { scope: "row" }, term),
        h("td", {}, number(values[k])),
        h("td", {}, weights[k] === null ? "–" : `× ${number(weights[k])}`),
        h("td", {}, h("span", { class: "bar", style: `--w:${Math.max(0, (points[k] ?? 0) / most)}` }), number(points[k]))))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "total"), h("td"), h("td"), h("td", {}, number(row.total)))));
  };
  const said = (row) => {
    const parts = [`step ${row.step}`];
    if (row.advantage !== null) parts.push(`advantage ${signed(row.advantage)}`);
    if (row.group) parts.push(`group of ${row.group.size}: mean ${number(row.group.mean)}, spread ${number(row.group.spread)}`);
    return parts.join(" · ");
  };
  const sample = (row) =>
    h("article", { class: "sample" },
      h("header", {}, h("h4", {}, row.image || "sample"), row.failure ? h("span", { class: "badge" }, words(row.failure)) : null),
      h("p", { class: "quiet" }, said(row)),
      row.graphs ? figures(row) : null,
      terms(row),
      h("details", { open: !row.graphs }, h("summary", {}, "Text"),
        h("pre", { tabindex: "0" }, row.text),
        row.cut ? h("p", { class: "quiet" }, `${counted(row.cut)} more characters`) : null));

  // ---- the toolbar
  const slider = h("input", { type: "range", id: "sample-step", min: "0", step: "1", input: () => show() });
  const label = h("output", { for: "sample-step" });
  const rows = h("div", { class: "samples" });
  const note = h("span", { class: "quiet" });
  const legend = run.rows.some((row) => row.graphs)
    ? h("p", { class: "quiet caption" }, ["matched", "missed", "spurious"].map((status) => [mark(status), " ", h("span", { "aria-hidden": "true" }, status), " · "]),
        "points: value times weight · advantage: how far the total is above the mean of its group, as the trainer scales it.")
    : null;
  const steps = h("span", { class: "step-choice" }, h("label", { class: "step" }, "Step ", slider), " ", label);
  const way = h("select", { id: "sample-way", change: () => show() }, WAYS.map(([value, text]) => h("option", { value }, text)));
  const show = () => {
    const step = run.steps[Number(slider.value)];
    label.textContent = `step ${step}`;
    slider.setAttribute("aria-valuetext", label.textContent);
    steps.hidden = way.value !== "step";
    note.textContent = way.value === "step" && run.of > run.steps.length ? `${run.steps.length} of ${counted(run.of)} logged steps` : "";
    const found = chosen();
    rows.replaceChildren(...(found.length ? found.map(sample) : [h("p", { class: "quiet" }, "The completions of this run have no groups.")]));
  };
  const choose = () => {
    slider.max = String(run.steps.length - 1);
    slider.value = slider.max;
    show();
  };
  const select = runs.length > 1
    ? h("label", {}, "Run ", h("select", { change: (event) => { run = runs[Number(event.target.value)]; choose(); } },
        runs.map((one, k) => h("option", { value: k }, one.name))))
    : null;
  place.append(...[h("div", { class: "toolbar" }, select, h("label", {}, "Show ", way), steps, note), legend, rows].filter(Boolean));
  choose();
}
