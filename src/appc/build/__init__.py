"""Making images: from directories, and whatever else becomes one (floor 5)."""
