"""Inference: predictions, streams, long videos, features and Grad-CAM."""
