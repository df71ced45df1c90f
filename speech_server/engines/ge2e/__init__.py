"""GE2E, which tells voices apart, on ONNX Runtime."""
