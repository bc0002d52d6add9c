"""From files to batches: readers, list files, the embedded dataset, samplers and loaders."""
