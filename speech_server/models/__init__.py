"""Models: what exists (catalog), where bytes come from (sources), what is installed (library), what is in memory."""
