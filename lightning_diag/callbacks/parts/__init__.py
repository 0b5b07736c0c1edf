"""The concerns of the observer, one part per file."""
