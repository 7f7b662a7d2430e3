"""Speed compared with the alternatives: `make bench`. docs/speed.md explains the results."""

import skyseg  # noqa: F401  (before PyTorch: it sets how PyTorch's threads wait for one another)
