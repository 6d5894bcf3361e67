"""Answer dialects: one file per way in which models write a scene graph, and the registry."""
