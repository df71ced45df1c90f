"""Files that stay with whoever started this server: read over HTTP on loopback, and for the vetter over a socket."""
