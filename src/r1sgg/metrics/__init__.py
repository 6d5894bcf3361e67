"""Metrics: SGDET recalls, precision and average precision, under named protocols."""

from r1sgg.judging.protocol import REFERENCE, STRICT, Protocol
from r1sgg.metrics.per_image import per_image
from r1sgg.metrics.report import evaluate

__all__ = ["REFERENCE", "STRICT", "Protocol", "evaluate", "per_image"]
