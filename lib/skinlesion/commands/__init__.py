"""One module for each subcommand of ``skinlesion``."""
