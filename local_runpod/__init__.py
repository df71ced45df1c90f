"""Runpod Serverless on this machine: the control plane, and real workers under it."""
