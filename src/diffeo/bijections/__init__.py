"""Bijections: invertible maps that know their log-determinant."""
