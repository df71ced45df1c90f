"""Runpod from outside: its two HTTP APIs, its jobs, their answers."""
