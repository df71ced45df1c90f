"""What runs a session: its socket, its tasks, its threads."""
