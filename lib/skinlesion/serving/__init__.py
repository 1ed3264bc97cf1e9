"""Weights -> answers. Imports no torch."""
