"""Pods on disk: phases, manifests, logs, records (floor 4)."""
