"""The annotation files of the published datasets, read as they are distributed."""
