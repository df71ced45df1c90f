"""The user's documents, one file each: their commands replayed as written but for host and model size."""
