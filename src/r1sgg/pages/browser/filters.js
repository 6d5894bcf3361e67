// Which images are shown, and in which order. The state lives in the address, so that a view can be kept as a link.
const DEFAULTS = { run: "0", other: "", kind: "", predicate: "", ptype: "any", taken: "", outcome: "", class: "", ctype: "any", tag: "", sort: "worst", find: "", image: "" };
const state = { ...DEFAULTS };

const readAddress = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const key of Object.keys(DEFAULTS)) state[key] = given.get(key) ?? DEFAULTS[key];
  if (!runs[Number(state.run)]) state.run = "0";
  if (state.other !== "" && (!runs[Number(state.other)] || state.other === state.run)) state.other = "";
};
const writeAddress = () => {
  const given = new URLSearchParams();
  for (const [key, value] of Object.entries(state)) if (value !== DEFAULTS[key]) given.set(key, value);
  const hash = given.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
};

// Does the prediction of a run for an image hold the predicate in this role?
const holdsPredicate = (run, image, predicate, role) => {
  const truth = data.truth.predicates[image];
  const outcomes = run.outcomes[image];
  if (role === "spurious") return run.spurious[image].includes(predicate);
  for (let k = 0; k < truth.length; k++) {
    if (truth[k] !== predicate) continue;
    if (role === "any" || (role === "matched") === (outcomes[k] === FOUND)) return true;
  }
  return role === "any" && run.spurious[image].includes(predicate);
};
// Was that predicate predicted in place of this true one (or, without one, was this the outcome)?
const confuses = (run, image, predicate, taken, outcome) => {
  const truth = data.truth.predicates[image];
  const outcomes = run.outcomes[image];
  let next = 0;
  for (let k = 0; k < outcomes.length; k++) {
    const instead = outcomes[k] === "p" || outcomes[k] === "r" ? run.taken[image][next++] : -1;
    if (predicate !== -1 && truth[k] !== predicate) continue;
    if (outcome !== "" && outcomes[k] !== outcome) continue;
    if (taken === -1 || instead === taken) return true;
  }
  return false;
};
const holdsClass = (run, image, name, role) => {
  if (role === "spurious") return run.spuriousClasses[image].includes(name);
  if (role === "missed") return run.missedClasses[image].includes(name);
  const truth = data.truth.classes[image];
  if (role === "matched") {
    const count = (list) => list.reduce((n, one) => n + (one === name), 0);
    return count(truth) > count(run.missedClasses[image]);
  }
  return truth.includes(name) || run.spuriousClasses[image].includes(name);
};

const filtered = () => {
  const run = runs[Number(state.run)];
  const kind = state.kind.startsWith("kind:") ? data.failures.indexOf(state.kind.slice(5)) : -1;
  const predicate = state.predicate === "" ? -1 : predicateNumber.get(state.predicate) ?? -2;
  const taken = state.taken === "" ? -1 : predicateNumber.get(state.taken) ?? -2;
  const name = state.class === "" ? -1 : classNumber.get(state.class) ?? -2;
  const find = state.find.trim().toLowerCase();
  const byOutcome = state.taken !== "" || state.outcome !== "";
  const out = [];
  for (let image = 0; image < total; image++) {
    const failure = run.failure[image];
    if (state.kind === "failed" && failure < 0) continue;
    if (state.kind === "read" && failure >= 0) continue;
    if (kind >= 0 && failure !== kind) continue;
    if (byOutcome && !confuses(run, image, predicate, taken, state.outcome)) continue;
    if (!byOutcome && predicate !== -1 && !holdsPredicate(run, image, predicate, state.ptype)) continue;
    if (name !== -1 && !holdsClass(run, image, name, state.ctype)) continue;
    if (state.tag !== "" && !tagsOf(image).includes(state.tag)) continue;
    if (find && !ids[image].toLowerCase().includes(find)) continue;
    out.push(image);
  }
  return sorted(out, run);
};

// Bad to good: failures, low recall, low precision; last those without a relation to find.
const badness = (run, image) =>
  run.recall[image] === null ? 9 : (run.failure[image] >= 0 ? 0 : 1) + run.recall[image] + (run.precision[image] ?? 0) / 1000;
const ORDERS = {
  worst: ["Worst first", (run) => (image) => badness(run, image)],
  best: ["Best first", (run) => (image) => (run.recall[image] === null ? 9 : -badness(run, image))],
  missed: ["Most missed", (run) => (image) => -[...run.outcomes[image]].reduce((n, letter) => n + (letter !== FOUND), 0)],
  spurious: ["Most spurious", (run) => (image) => -run.spurious[image].length],
  file: ["As in the file", () => (image) => image],
  behind: ["Behind the other run", (run, other) => (image) => badness(run, image) - badness(other, image)],
  ahead: ["Ahead of the other run", (run, other) => (image) => badness(other, image) - badness(run, image)],
};
const sorted = (images, run) => {
  const other = runs[Number(state.other)];
  const needsOther = state.sort === "behind" || state.sort === "ahead";
  const order = ORDERS[state.sort] && (!needsOther || state.other !== "") ? state.sort : "worst";
  const key = ORDERS[order][1](run, other);
  const keys = new Map(images.map((image) => [image, key(image)]));
  return images.sort((a, b) => keys.get(a) - keys.get(b) || a - b);
};
