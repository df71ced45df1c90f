"""Which models exist and by which names: data, and the files a user may write."""
