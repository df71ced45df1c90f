"""What wraps a library, a folder or a file for each, behind interfaces.py; and the queue they share."""
