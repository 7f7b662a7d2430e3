"""Masks: how files store them, what their values mean, and reading them."""
