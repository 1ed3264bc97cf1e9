"""What was measured on the way to the shipped model: recipes, outputs, tables; index.md explains the files."""
