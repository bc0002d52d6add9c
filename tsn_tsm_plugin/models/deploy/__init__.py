"""Deployment: fused inference, re-parameterisation, compilation and export."""
