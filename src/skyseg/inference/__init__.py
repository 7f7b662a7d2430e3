"""Using a model: from a photograph to a probability map, and to what is made of it."""
