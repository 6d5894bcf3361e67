// Begin with what the address says.
readAddress();
const asked = ids.indexOf(state.image);
drawFilters();
drawMistakes();
refresh();
if (state.image !== "" && asked >= 0) openViewer(asked);
window.addEventListener("hashchange", () => {
  readAddress();
  drawFilters();
  drawMistakes();
  refresh();
});
