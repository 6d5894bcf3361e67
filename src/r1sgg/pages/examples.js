// The page of `r1sgg data view`: what is drawn can be switched off, and a triplet lights its parts of the picture.
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
for (const button of all("[data-hide]")) {
  button.addEventListener("click", () => {
    const off = document.body.classList.toggle("hide-" + button.dataset.hide);
    button.setAttribute("aria-pressed", String(!off));
  });
}

const light = (card, triplet) => {
  card.classList.toggle("lit", triplet !== null);
  const parts = triplet ? triplet.dataset.parts.split(" ") : [];
  for (const shape of all(".drawn svg [class]", card)) {
    shape.classList.toggle("on", parts.some((part) => shape.classList.contains(part)));
  }
};
// The other way: what is pointed at in the picture marks its triplets.
for (const card of all(".card")) {
  for (const kind of ["pointerover", "pointerout"]) {
    card.querySelector(".picture").addEventListener(kind, (event) => {
      const parts = kind === "pointerover" ? [...(event.target.closest("svg [class]")?.classList ?? [])].filter((name) => /^[br]\d+$/.test(name)) : [];
      for (const triplet of all(".triplet", card)) triplet.classList.toggle("hot", parts.some((part) => triplet.dataset.parts.split(" ").includes(part)));
    });
  }
}
for (const triplet of all(".triplet")) {
  const card = triplet.closest(".card");
  const rest = () => light(card, card.querySelector('.triplet[aria-pressed="true"]'));
  for (const start of ["mouseenter", "focus"]) triplet.addEventListener(start, () => light(card, triplet));
  for (const end of ["mouseleave", "blur"]) triplet.addEventListener(end, rest);
  triplet.addEventListener("click", () => {
    const on = triplet.getAttribute("aria-pressed") !== "true";
    for (const other of all(".triplet", card)) other.setAttribute("aria-pressed", String(on && other === triplet));
    light(card, on ? triplet : null);
  });
}
