"""Use cases around voices: who speaks when, what a voice is like."""
