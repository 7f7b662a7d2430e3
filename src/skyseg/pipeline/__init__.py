"""The stages that DVC runs: prepare, train, evaluate."""
