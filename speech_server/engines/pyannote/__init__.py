"""pyannote segmentation, which tells who speaks when and who at once, on ONNX Runtime."""
