"""Run the command line with ``python -m lightning_diag``."""
