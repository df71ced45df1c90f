"""Piper on ONNX Runtime."""
