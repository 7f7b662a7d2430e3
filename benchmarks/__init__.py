"""Speed beside what users would pick instead: `make bench`. How to read it: docs/speed.md."""
