"""How fast: one script for each question; index.md lists them."""
