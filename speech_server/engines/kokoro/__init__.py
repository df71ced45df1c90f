"""Kokoro on ONNX Runtime: its voices, its phonemes, its model."""
