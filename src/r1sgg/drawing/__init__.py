"""Scene graphs as pictures (PNG and SVG)."""
