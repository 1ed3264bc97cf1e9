"""Files -> table -> split -> pixels."""
