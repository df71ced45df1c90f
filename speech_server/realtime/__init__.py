"""The Realtime API: its protocol, the state of a session, and what runs one on a socket."""
