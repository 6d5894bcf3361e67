// What `tests/looks.py` asks of a page.
var faults = (least) => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      pen.clearRect(0, 0, 1, 1);
      pen.fillStyle = "#000";
      pen.fillStyle = colour;
      pen.fillRect(0, 0, 1, 1);
      const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
      known.set(colour, [r, g, b, a / 255]);
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ratio = (a, b) => {
    const [high, low] = [luminance(a), luminance(b)].sort((x, y) => y - x);
    return (high + 0.05) / (low + 0.05);
  };
  const paper = matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const under = (element) => {
    if (element === null) return paper;
    const colour = rgba(getComputedStyle(element).backgroundColor);
    return colour[3] === 1 ? colour : over(colour, under(element.parentElement));
  };
  // What an SVG text lies on: the shape drawn last, before it, that holds its middle.
  const shapeUnder = (text, box) => {
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    let found = under(text.ownerSVGElement);
    for (const shape of text.ownerSVGElement.querySelectorAll("rect, polygon, circle")) {
      if (!(shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING)) break;
      const r = shape.getBoundingClientRect();
      const style = getComputedStyle(shape);
      if (style.fill === "none" || style.display === "none" || x < r.left || x > r.right || y < r.top || y > r.bottom) continue;
      const fill = rgba(style.fill);
      found = over([fill[0], fill[1], fill[2], fill[3] * style.fillOpacity * style.opacity], found);
    }
    return found;
  };
  const faults = [];
  const width = document.documentElement.scrollWidth;
  if (width > innerWidth) {
    const out = [...document.body.querySelectorAll("*")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1);
    faults.push(`${width} pixels wide in a window of ${innerWidth}: ${out.slice(0, 3).map((e) => e.tagName + "." + e.getAttribute("class")).join(", ")}`);
  }
  const judge = (element, colour, words, background) => {
    let opacity = 1;
    for (let e = element; e; e = e.parentElement) opacity *= Number(getComputedStyle(e).opacity);
    const ink = rgba(colour);
    const found = ratio(over([ink[0], ink[1], ink[2], ink[3] * opacity], background), background);
    if (found < least) faults.push(`${found.toFixed(2)}: ${words.trim().slice(0, 40)} (${element.tagName}.${element.getAttribute("class")})`);
  };
  const seen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest("[disabled], .sr");
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || ["SCRIPT", "STYLE", "TITLE", "DESC", "NOSCRIPT", "OPTION"].includes(element.tagName) || element.tagName === "title" || element.tagName === "desc" || !seen(element)) continue;
    const box = element.getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1) continue;
    if (element.ownerSVGElement) judge(element, getComputedStyle(element).fill, node.data, shapeUnder(element, box));
    else judge(element, getComputedStyle(element).color, node.data, under(element));
  }
  for (const input of document.querySelectorAll("input[placeholder], textarea[placeholder]")) {
    if (seen(input) && !input.value && input.placeholder.trim()) judge(input, getComputedStyle(input, "::placeholder").color, input.placeholder, under(input));
  }
  return [...new Set(faults)];
};
var overlaps = (selector) => {
  const elements = [...document.querySelectorAll(selector)];
  const seen = elements.filter((e) => e.checkVisibility({ opacityProperty: true, visibilityProperty: true }));
  const rects = seen.map((e) => e.getBoundingClientRect());
  const found = [];
  const name = (e) => (e.nextElementSibling ?? e).textContent;
  for (let a = 0; a < rects.length; a++) {
    for (let b = a + 1; b < rects.length; b++) {
      if (seen[a].ownerSVGElement !== seen[b].ownerSVGElement) continue;
      const wide = Math.min(rects[a].right, rects[b].right) - Math.max(rects[a].left, rects[b].left);
      const high = Math.min(rects[a].bottom, rects[b].bottom) - Math.max(rects[a].top, rects[b].top);
      if (wide > 1.5 && high > 1.5) found.push(`${name(seen[a])} and ${name(seen[b])}: ${wide.toFixed(1)} x ${high.toFixed(1)}`);
    }
  }
  return { count: rects.length, found };
};
