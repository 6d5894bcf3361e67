"""Predictions in the files of other tools, one short module for each layout; `registry` lists them."""
