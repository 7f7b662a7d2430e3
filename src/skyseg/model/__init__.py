"""The network: its layers, its losses, its files, and the hardware that runs it."""
