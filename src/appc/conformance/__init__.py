"""Checks of an executor against the App Container specification: ours, and any that takes rkt's words."""
