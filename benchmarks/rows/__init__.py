"""The benchmarks, one file each: make bench ONLY=NAME."""
