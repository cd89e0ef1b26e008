"""Content-addressed images and their trees on disk (floor 3)."""
