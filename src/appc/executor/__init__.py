"""The pod executor (floor 5)."""
