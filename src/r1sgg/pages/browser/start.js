// Begin with the view that the address stores.
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
