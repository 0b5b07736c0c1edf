"""Predictions and targets of a step, read from what an unmodified module computes."""
