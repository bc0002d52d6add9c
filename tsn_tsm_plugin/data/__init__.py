"""Readers, list files, the embedded dataset, samplers and loaders: from files to batches."""
