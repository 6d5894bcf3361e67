"""Predictions for many images: input formats, resumable runs, and runs on a Ray cluster."""
