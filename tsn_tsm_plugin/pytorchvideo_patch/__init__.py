"""Patches of PyTorchVideo's builders, and the ledger of these patches."""
