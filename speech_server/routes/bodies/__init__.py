"""Request bodies on their way in: bounded, parsed, checked."""
