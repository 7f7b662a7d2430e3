"""Formats: how data sets lay out photographs and masks."""
