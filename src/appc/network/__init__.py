"""Networks of pods: the built-in one, those of CNI plugins, forwarded ports and names."""
