"""Readers of coded video: which packets a wanted frame needs, without decoding."""
