"""Readers of the annotation files of published datasets, and preparation of datasets."""
