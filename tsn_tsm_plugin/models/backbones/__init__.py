"""Backbones: 2D networks and the sites that they declare for temporal modules."""
