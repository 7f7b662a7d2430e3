"""``python -m skyseg``."""

from skyseg.cli import main

main()
