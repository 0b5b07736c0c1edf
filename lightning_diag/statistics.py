"""Intervals, exact tests, trends."""
