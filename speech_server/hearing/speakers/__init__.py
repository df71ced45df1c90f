"""Who speaks when: windows of voices, their clusters, turns, and whose each word is. Numbers only, no model."""
