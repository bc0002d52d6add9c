"""Streaming: frame-by-frame inference with a causal TSM."""
