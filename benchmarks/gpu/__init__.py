"""The sections of the GPU benchmark, each run in a process of its own: a card's error ends one of them only."""
