"""Realtime sessions over HTTP: the WebSocket, and the keys with which browsers open it."""
