"""From a plan to processes: sealing, spawning, explaining (floor 4)."""
