"""Scalar maps: increasing functions of one variable, given parameters."""
