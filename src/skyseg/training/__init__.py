"""Training: tensors in, numbers out."""
