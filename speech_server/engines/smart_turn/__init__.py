"""Smart Turn, which hears whether somebody has finished, on ONNX Runtime."""
