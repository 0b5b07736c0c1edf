"""Metrics as torchmetrics.Metric subclasses: device-side counts, no synchronisation in a step."""
