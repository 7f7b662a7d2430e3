"""Data sets: layouts, mask meanings, audit, split and prepared arrays."""
