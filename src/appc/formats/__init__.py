"""Readers and writers of byte streams: archives, layouts, conversions (floor 2)."""
