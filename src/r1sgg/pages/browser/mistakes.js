// What went wrong over all images, for the chosen run: outcomes of the true relations, failures, predicates, confusions.
// Every number is a button that shows its images.
const OUTCOMES = {
  f: ["found", "Found"],
  p: ["predicate", "Another predicate"],
  r: ["reversed", "The other direction"],
  u: ["unrelated", "Nothing between the objects"],
  o: ["object", "An object not found"],
  x: ["failure", "No graph"],
};
const MOST_CONFUSED = 12;

const only = (changes) => {
  Object.assign(state, { kind: "", predicate: "", ptype: "any", taken: "", outcome: "", class: "", ctype: "any", tag: "", find: "" }, changes);
  refresh();
  byId("images-heading").scrollIntoView({ block: "start" });
};

const tallies = new Map();
const tally = (run) => {
  if (tallies.has(run)) return tallies.get(run);
  const outcomes = Object.fromEntries(Object.keys(OUTCOMES).map((letter) => [letter, 0]));
  const failures = data.failures.map(() => 0);
  const rows = new Map(); // by true predicate: outcomes by letter, and how often which other was predicted
  for (let image = 0; image < total; image++) {
    if (run.failure[image] >= 0) failures[run.failure[image]]++;
    let next = 0;
    const letters = run.outcomes[image];
    for (let k = 0; k < letters.length; k++) {
      const letter = letters[k];
      outcomes[letter]++;
      const predicate = data.truth.predicates[image][k];
      if (!rows.has(predicate)) rows.set(predicate, { count: 0, letters: {}, taken: new Map() });
      const row = rows.get(predicate);
      row.count++;
      row.letters[letter] = (row.letters[letter] ?? 0) + 1;
      if (letter === "p" || letter === "r") {
        const other = run.taken[image][next++];
        if (letter === "p") row.taken.set(other, (row.taken.get(other) ?? 0) + 1);
      }
    }
  }
  const found = { outcomes, failures, rows };
  tallies.set(run, found);
  return found;
};

const outcomeBar = (run) => {
  const { outcomes } = tally(run);
  const all = Object.values(outcomes).reduce((a, b) => a + b, 0);
  const shown = Object.entries(outcomes).filter(([, n]) => n > 0);
  return [
    h("div", { class: "stack", "aria-hidden": "true" },
      shown.map(([letter, n]) => h("span", { class: OUTCOMES[letter][0], style: `flex-grow:${n}` }))),
    h("ul", { class: "outcomes" }, shown.map(([letter, n]) =>
      h("li", {}, h("button", { type: "button", "data-outcome": OUTCOMES[letter][0], click: () => only({ outcome: letter }) },
        h("span", { class: `square ${OUTCOMES[letter][0]}`, "aria-hidden": "true" }), ` ${OUTCOMES[letter][1]} `,
        h("b", {}, counted(n)), h("span", { class: "quiet" }, ` ${percent(n / all)} %`))))),
  ];
};

const failureList = (run) => {
  const { failures } = tally(run);
  const order = failures.map((n, k) => k).filter((k) => failures[k]).sort((a, b) => failures[b] - failures[a]);
  if (!order.length) return h("p", { class: "quiet" }, "Every completion could be read as a graph.");
  return h("ul", { class: "outcomes" }, order.map((k) =>
    h("li", {}, h("button", { type: "button", "data-kind": data.failures[k], click: () => only({ kind: `kind:${data.failures[k]}` }) },
      `${words(data.failures[k])} `, h("b", {}, counted(failures[k])), h("span", { class: "quiet" }, ` ${percent(failures[k] / total)} %`)))));
};

const PREDICATE_ORDERS = {
  count: ["most frequent", (row) => -row[1]],
  recall: ["lowest recall", (row) => row[2][Number(state.run)] ?? 2],
  gap: ["difference of the runs", (row) => -Math.abs((row[2][Number(state.other)] ?? 0) - (row[2][Number(state.run)] ?? 0))],
};
let predicateOrder = "count";
const predicateTable = () => {
  const run = Number(state.run);
  const other = state.other === "" ? -1 : Number(state.other);
  const orders = Object.entries(PREDICATE_ORDERS).filter(([key]) => key !== "gap" || other >= 0);
  if (!orders.some(([key]) => key === predicateOrder)) predicateOrder = "count";
  const key = PREDICATE_ORDERS[predicateOrder][1];
  const rows = [...data.perPredicate].sort((a, b) => key(a) - key(b) || b[1] - a[1]);
  const bar = (value, which) =>
    h("td", { class: "recall left" }, h("span", { class: "value" }, percent(value)), h("span", { class: `bar ${which}`, style: `--w:${value ?? 0}` }));
  const most = (name) => {
    const taken = [...(tally(runs[run]).rows.get(predicateNumber.get(name))?.taken ?? [])].sort((a, b) => b[1] - a[1]).slice(0, 2);
    return taken.map(([instead, n]) =>
      h("button", { type: "button", class: "link", click: () => only({ predicate: name, taken: data.predicates[instead], outcome: "p" }) }, `${data.predicates[instead]} ${n}`));
  };
  return [
    h("label", { class: "order" }, "Order ", h("select", { id: "predicate-order", change: (event) => { predicateOrder = event.target.value; drawMistakes(); byId("predicate-order").focus(); } },
      orders.map(([name, [title]]) => h("option", { value: name, selected: name === predicateOrder }, title)))),
    h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Recall by predicate" }, h("table", { id: "predicates" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Predicate"), h("th", { scope: "col" }, "True"),
        h("th", { scope: "col", class: "left" }, h("abbr", { title: "Mean over the images where it is true" }, "R@50"), other >= 0 ? ` ${runs[run].name}` : ""),
        other >= 0 ? h("th", { scope: "col", class: "left" }, `R@50 ${runs[other].name}`) : null, h("th", { scope: "col", class: "left" }, "Predicted instead"))),
      h("tbody", {}, rows.map(([name, count, recalls]) => h("tr", {},
        h("th", { scope: "row" }, h("button", { type: "button", class: "link", "data-predicate": name, click: () => only({ predicate: name, ptype: "missed" }) }, name)),
        h("td", {}, counted(count)), bar(recalls[run], "first"), other >= 0 ? bar(recalls[other], "second") : null,
        h("td", { class: "left" }, most(name))))))),
  ];
};

// Rows: true predicates; columns: what was predicted between the right objects. The most frequent of both.
const confusionTable = (run) => {
  const { rows } = tally(run);
  const counts = new Map(); // of predicates that were predicted in place of a true one
  for (const row of rows.values()) for (const [name, n] of row.taken) counts.set(name, (counts.get(name) ?? 0) + n);
  if (!counts.size) return h("p", { class: "quiet" }, "No other predicate was predicted between objects that were found.");
  const trues = [...rows.keys()].sort((a, b) => rows.get(b).count - rows.get(a).count).slice(0, MOST_CONFUSED);
  const predicted = [...new Set([...trues, ...[...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a))])].slice(0, MOST_CONFUSED + 3);
  const extra = [["r", "other direction"], ["u", "nothing"], ["o", "object missing"]];
  const cell = (share, n, title, changes, className = "") => {
    const inner = n ? h("button", { type: "button", title, click: () => only(changes) }, String(n)) : "";
    return h("td", { class: className, style: n ? `--heat:${Math.round(8 + 92 * Math.sqrt(share))}%` : null }, inner);
  };
  const line = (predicate) => {
    const row = rows.get(predicate);
    const name = data.predicates[predicate];
    return h("tr", {}, h("th", { scope: "row" }, name),
      predicted.map((other) => {
        const right = other === predicate;
        const n = right ? row.letters[FOUND] ?? 0 : row.taken.get(other) ?? 0;
        const title = right ? `${name}: found ${n} of ${row.count}` : `${name} predicted as ${data.predicates[other]}: ${n} of ${row.count}`;
        const changes = right ? { predicate: name, ptype: "matched" } : { predicate: name, taken: data.predicates[other], outcome: "p" };
        return cell(n / row.count, n, title, changes, right ? "right" : "");
      }),
      extra.map(([letter, title]) => {
        const n = row.letters[letter] ?? 0;
        return cell(n / row.count, n, `${name}: ${title} ${n} of ${row.count}`, { predicate: name, outcome: letter }, "lost");
      }));
  };
  return [
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Confusion of predicates" }, h("table", { class: "confusion", id: "confusion" },
      h("thead", {}, h("tr", {}, h("td", {}), predicted.map((name) => h("th", { scope: "col" }, h("span", {}, data.predicates[name]))),
        extra.map(([, title]) => h("th", { scope: "col", class: "lost" }, h("span", {}, title))))),
      h("tbody", {}, trues.map(line)))),
    h("p", { class: "quiet caption" }, "Rows: true predicates, the most frequent. Columns: what was predicted between the same objects. Shade: share of the row."),
  ];
};

const drawMistakes = () => {
  const run = runs[Number(state.run)];
  const part = (title, ...children) => h("section", { class: "part" }, h("h3", {}, title), children);
  byId("mistakes").replaceChildren(
    h("div", { class: "columns" },
      part("True relations by outcome", outcomeBar(run)),
      part("Completions without a graph", failureList(run))),
    part("Predicates", predicateTable()),
    h("details", { class: "part", id: "confusions" }, h("summary", {}, "Confusion of predicates"), confusionTable(run)));
};
