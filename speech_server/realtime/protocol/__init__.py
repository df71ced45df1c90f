"""What passes between client and server: events, items, the session's configuration, two dialects. Pure."""
