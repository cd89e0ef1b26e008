"""The launch plan: vocabulary, compiler, order law, text and wire forms (floor 2)."""
