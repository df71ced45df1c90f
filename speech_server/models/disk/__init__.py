"""Models as files: the cache, the folders of a model, which engine they are for. Knows no network."""
