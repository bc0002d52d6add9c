"""Decoders behind ``VideoReader``: one module per library, reached through the ``DECODERS`` registry."""
