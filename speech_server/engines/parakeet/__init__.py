"""NVIDIA's Parakeet TDT on ONNX Runtime."""
