"""Finds faults in a data set before a training does."""
