"""Conditioners, and causal networks that also run step by step."""
