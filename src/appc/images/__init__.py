"""The joint of store, trust and network: from a reference to a rendered root (floor 4)."""
