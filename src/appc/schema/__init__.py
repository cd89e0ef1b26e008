"""Manifests as immutable, table-driven records (floor 1)."""
