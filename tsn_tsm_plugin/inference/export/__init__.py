"""Trained networks for other programs and people: export, quantisation, sidecar and model card."""
