"""The Realtime API as a state machine without a socket."""
