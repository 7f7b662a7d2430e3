"""Scores: from probability maps and masks to numbers."""
