"""Models: what exists (catalog), where it comes from (sources), on disk (store), in memory (loader)."""
