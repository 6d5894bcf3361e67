// Completions that were sampled while training: a slider over the steps, and each sample's reward terms.
if (byId("samples-data")) {
  const runs = jsonOf("samples-data");
  const place = byId("samples");
  let run = runs[0];
  const number = (value) => (value === null || value === undefined ? "–" : Number(value).toPrecision(3).replace(/\.?0+$/, ""));

  const sample = (row) => {
    const values = run.terms.map((term) => row.terms[term] ?? null);
    const most = Math.max(1, ...values.map((value) => Math.abs(value ?? 0)));
    const bars = run.terms.map((term, k) => [
      h("dt", {}, term),
      h("dd", {},
        h("span", { class: "value" }, number(values[k])),
        h("span", { class: "bar", style: `--w:${Math.max(0, (values[k] ?? 0) / most)}` })),
    ]);
    return h("article", { class: "sample" },
      h("header", {}, h("h4", {}, row.image || "sample"), h("span", { class: "quiet" }, `total ${number(row.total)}`)),
      h("dl", { class: "terms" }, bars),
      h("pre", { tabindex: "0" }, row.text),
      row.cut ? h("p", { class: "quiet" }, `${counted(row.cut)} more characters`) : null);
  };

  const slider = h("input", { type: "range", id: "sample-step", min: "0", step: "1", input: () => show() });
  const label = h("output", { for: "sample-step" });
  const rows = h("div", { class: "samples" });
  const show = () => {
    const step = run.steps[Number(slider.value)];
    label.textContent = `step ${step.step}`;
    slider.setAttribute("aria-valuetext", label.textContent);
    rows.replaceChildren(...step.rows.map(sample));
  };
  const choose = () => {
    slider.max = String(run.steps.length - 1);
    slider.value = slider.max;
    note.textContent = run.of > run.steps.length ? `${run.steps.length} of ${counted(run.of)} logged steps` : "";
    show();
  };
  const note = h("span", { class: "quiet" });
  const select = runs.length > 1
    ? h("label", {}, "Run ", h("select", { change: (event) => { run = runs[Number(event.target.value)]; choose(); } },
        runs.map((one, k) => h("option", { value: k }, one.name))))
    : null;
  place.append(h("div", { class: "toolbar" }, select, h("label", { class: "step" }, "Step ", slider), label, note), rows);
  choose();
}
