"""Frame-by-frame inference with a causal TSM."""
