"""An OpenAI speech API on this machine, and jobs of queue endpoints behind it."""
