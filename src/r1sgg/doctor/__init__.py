"""What a machine, a recipe and a model will do, before the first GPU hour (`r1sgg doctor`)."""
