"""SpeechT5 on ONNX Runtime: its files, its characters, its voices, its three networks."""
