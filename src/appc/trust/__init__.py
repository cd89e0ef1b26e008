"""Keys, signatures and the prefixes they are trusted for (floor 3)."""
