"""Picture files: which there are in a folder, what may be decoded, decoding and writing."""
