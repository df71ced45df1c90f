"""The smallest engine of each kind: all that one has to do, and what to begin a new one with. Each hears or says tones.

`test_examples.py` keeps them small, the suites in `contracts` honest.
"""
