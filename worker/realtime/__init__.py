"""A WebSocket through a job: the port, who is let in, what passes, how it ends."""
