// What every part of the page uses: elements made from names and texts (never from markup).
const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
};
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const byId = (id) => document.getElementById(id);
const jsonOf = (id) => JSON.parse(byId(id).textContent);
const percent = (value) => (value === null ? "–" : (100 * value).toFixed(1));
const counted = (number) => number.toLocaleString("en-US");
const words = (name) => name.replaceAll("_", " ");
for (const link of document.querySelectorAll(".sections a")) { // the address after "#" is the view of the images
  link.addEventListener("click", (event) => {
    event.preventDefault();
    byId(link.hash.slice(1)).scrollIntoView();
  });
}
const MARKS = { matched: "✓", missed: "○", spurious: "✕" };
const mark = (status) =>
  h("span", { class: `mark ${status}` }, h("span", { "aria-hidden": "true" }, MARKS[status]), h("span", { class: "sr" }, `${status}: `));
