"""Text in, encoded audio out, piece by piece. What routes, chat and realtime call."""
