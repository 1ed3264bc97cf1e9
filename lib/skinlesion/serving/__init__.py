"""A model folder -> predictions. Imports no torch."""
