"""What a scene graph is, how it is written and which names it may use."""
