"""The speech server beside the worker: started, asked whether it lives, sent requests."""
