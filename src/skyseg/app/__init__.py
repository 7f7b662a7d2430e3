"""The web page: find the sky in a photograph, compare models, correct masks."""
