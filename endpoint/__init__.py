"""What runs on the caller's machine: knows Runpod from outside, and OpenAI's speech API."""
