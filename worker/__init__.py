"""The job proxy: a Runpod job in, one HTTP request to the speech server, one job output out."""
