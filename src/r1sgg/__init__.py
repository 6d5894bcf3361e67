"""r1sgg: multimodal models that read images as scene graphs; their training, measurement and use."""

__version__ = "0.1.0"
