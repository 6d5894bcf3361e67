"""The laptop world: drawn scenes, a model of 3 million parameters that reads them, and the checkpoints that ship."""
