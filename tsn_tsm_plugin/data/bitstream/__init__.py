"""Parsers of coded video: find the packets that a frame needs, without decoding."""
