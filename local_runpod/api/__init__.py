"""What the platform answers over HTTP: to clients, to workers, to tests."""
