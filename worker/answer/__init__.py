"""What the server answered -> the job's output: pieces on the way, the whole at its end, or a link."""
