"""One file per verb; imported only when that verb is called (floor 6)."""
