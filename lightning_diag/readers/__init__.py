"""Logs of other tools, read into a RunHistory."""
