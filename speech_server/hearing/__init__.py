"""What is heard in samples as they come: spans of speech, chunks an engine takes at once. Pure."""
