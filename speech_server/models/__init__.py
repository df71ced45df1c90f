"""Models: what exists (catalog), where bytes come from (sources), what is on disk (store) and in memory (loader)."""
