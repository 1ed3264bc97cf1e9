"""One module for each subcommand of ``skinlesion``: ``add_parser(subparsers)``, and ``run(arguments)`` -> exit status.

Modules import what they need when they run: the command line starts without NumPy, pandas and torch.
"""
