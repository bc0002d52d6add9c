"""Faster and portable networks: fused inference, re-parameterisation and export."""
