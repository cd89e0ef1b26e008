"""The App Container metadata service (floor 5)."""
