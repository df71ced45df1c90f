"""What a session knows: turns, transcripts, the conversation, the response under way. Pure; the clock is passed in."""
