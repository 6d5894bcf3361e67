"""Captions to training graphs: read, extract triplets, align names, ground objects, and say where each came from."""
