"""WeSpeaker, which tells voices apart, on ONNX Runtime."""
