// Curves by step, or each run as wide as the chart. Points lie on the axis of steps; those of shares are computed.
if (byId("axis")) {
  const lines = [...document.querySelectorAll(".series[data-whole]")].map((group) => {
    const { left, right, whole, level } = Object.fromEntries(Object.entries(group.dataset).map(([key, text]) => [key, Number(text)]));
    const path = group.querySelector("path");
    const end = group.querySelector(".end");
    const round = (value) => Math.round(value * 10) / 10;
    const stretch = (x) => round(left + ((x - left) * (right - left)) / Math.max(1e-9, whole - left));
    return {
      path, end, steps: path.getAttribute("d"), at: end && [end.getAttribute("x"), end.getAttribute("y")],
      shares: path.getAttribute("d").replace(/([ML])([\d.e-]+),/g, (_, letter, x) => `${letter}${stretch(Number(x))},`),
      there: end && [stretch(Number(end.getAttribute("x")) - 7) + 7, level],
      circles: [...group.querySelectorAll("circle")].map((circle) => [circle, circle.getAttribute("cx"), stretch(Number(circle.getAttribute("cx")))]),
    };
  });
  byId("axis").addEventListener("change", (event) => {
    const shares = event.target.value === "shares";
    document.documentElement.classList.toggle("shares", shares);
    for (const line of lines) {
      line.path.setAttribute("d", shares ? line.shares : line.steps);
      for (const [circle, step, share] of line.circles) circle.setAttribute("cx", shares ? share : step);
      if (line.end) ["x", "y"].forEach((name, k) => line.end.setAttribute(name, (shares ? line.there : line.at)[k]));
    }
  });
}
