"""What this kernel and user can do, and the only ctypes in the house (floor 3)."""
