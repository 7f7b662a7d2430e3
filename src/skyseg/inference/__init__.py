"""Using a model: from a photograph to a probability map, and from that to masks and pictures."""
