"""Many images: how they are named and read, resumable runs, and the same job on a Ray cluster."""
