"""Callbacks for a Trainer: thin, they forward hooks."""
