"""2D backbones and the sites that they declare for temporal modules."""
