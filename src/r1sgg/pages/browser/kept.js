// What a person keeps in this browser for this data set: tags of images, and views (filters and order) by name.
const store = { tags: {}, views: {} };
const storeKey = `r1sgg ${data.key}`;
let unkept = ""; // why nothing can be kept
try {
  Object.assign(store, JSON.parse(localStorage.getItem(storeKey) ?? "{}"));
} catch (error) {
  unkept = `not kept after this page is closed: ${error.message}`;
}
const keepStore = () => {
  try {
    localStorage.setItem(storeKey, JSON.stringify(store));
  } catch (error) {
    unkept = `not kept after this page is closed: ${error.message}`;
  }
};

const tagsOf = (image) => (Object.hasOwn(store.tags, ids[image]) ? store.tags[ids[image]] : []);
const allTags = () => [...new Set(Object.values(store.tags).flat())].sort();
const setTags = (image, text) => {
  const tags = [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
  if (tags.length) store.tags[ids[image]] = tags;
  else delete store.tags[ids[image]];
  keepStore();
};

// A line for each tagged image, as a file.
const saveTags = () => {
  const lines = Object.entries(store.tags).map(([image_id, tags]) => `${JSON.stringify({ image_id, tags })}\n`);
  const address = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  h("a", { href: address, download: "tags.jsonl" }).click();
  URL.revokeObjectURL(address);
};

const drawViews = () => {
  const names = Object.keys(store.views).sort();
  const here = names.find((name) => store.views[name] === location.hash.slice(1)) ?? "";
  const name = h("input", { type: "search", id: "view-name", placeholder: "name of this view", "aria-label": "Name of this view", size: "16", autocomplete: "off" });
  const save = (event) => {
    event.preventDefault();
    if (!name.value.trim()) return name.focus();
    store.views[name.value.trim()] = location.hash.slice(1);
    keepStore();
    drawViews();
  };
  const remove = () => {
    delete store.views[here];
    keepStore();
    drawViews();
  };
  const tagged = Object.keys(store.tags).length;
  byId("views").replaceChildren(...[
    names.length ? h("label", {}, h("span", {}, "Saved views"), h("select", { id: "view", change: (event) => { location.hash = store.views[event.target.value] ?? ""; } },
      option("", "choose", here), names.map((one) => option(one, one, here)))) : null,
    here ? h("button", { type: "button", id: "view-delete", click: remove }, "Delete this view") : null,
    h("form", { class: "duo", submit: save }, name, h("button", { id: "view-save" }, "Save view")),
    tagged ? h("button", { type: "button", id: "tags-save", click: saveTags }, `Save tags of ${counted(tagged)}`) : null,
    unkept ? h("span", { class: "quiet", role: "status" }, unkept) : null,
  ].filter(Boolean));
};
