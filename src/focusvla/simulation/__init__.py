"""Simulators as environments. Never sees the model."""
