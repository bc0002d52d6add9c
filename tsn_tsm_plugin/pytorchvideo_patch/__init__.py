"""Activation of the plugin in PyTorchVideo's builders, and its ledger."""
