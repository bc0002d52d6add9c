"""TSN and TSM for PyTorchVideo."""

__version__ = "0.1.0"
