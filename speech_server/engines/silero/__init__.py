"""Silero, which hears whether somebody speaks, on ONNX Runtime."""
