"""Use of a trained network: predictions, streams, long videos, features and Grad-CAM."""
