"""Decoders behind ``VideoReader``: one module per library, registered in ``DECODERS``."""
