(() => {
  "use strict";
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  root.classList.add("script");

  // Light and dark: the system's choice until the button is used.
  const theme = document.getElementById("theme");
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.style.colorScheme ? root.style.colorScheme === "dark" : system.matches);
  const nameTheme = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.addEventListener("click", () => { root.style.colorScheme = dark() ? "light" : "dark"; nameTheme(); });
  system.addEventListener("change", nameTheme);
  nameTheme();

  for (const button of all("[data-hide]")) {
    button.addEventListener("click", () => {
      const off = document.body.classList.toggle("hide-" + button.dataset.hide);
      button.setAttribute("aria-pressed", String(!off));
    });
  }

  // A triplet that is pointed at, focused or pressed lights its parts in the picture.
  const light = (card, triplet) => {
    card.classList.toggle("lit", triplet !== null);
    for (const figure of all(".graph", card)) {
      const keys = new Set(triplet ? triplet.dataset[figure.dataset.side].split(" ") : []);
      for (const part of all("[data-k]", figure)) {
        part.classList.toggle("on", part.dataset.k.split(" ").some((key) => keys.has(key)));
      }
    }
  };
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
})();
