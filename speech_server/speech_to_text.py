"""Audio in, segments out: decode, find the speech, transcribe. What routes, chat and realtime call."""
