"""What a job may become, and when. Pure: the clock is passed in."""
