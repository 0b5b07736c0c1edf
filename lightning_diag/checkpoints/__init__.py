"""What a checkpoint and a module share, by content."""
