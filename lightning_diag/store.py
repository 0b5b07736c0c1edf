"""RunHistory to JSON lines and back."""
