"""Predictions -> figures and numbers."""
