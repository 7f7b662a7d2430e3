"""Speed beside what users would pick instead: `make bench`. How to read it: docs/speed.md."""

import skyseg  # noqa: F401  (before PyTorch: it sets how PyTorch's threads wait for each other)
