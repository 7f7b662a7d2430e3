"""What one command does, top to bottom: one module a stage."""
