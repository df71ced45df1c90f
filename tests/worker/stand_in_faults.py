"""What can go wrong in a server, one route each, for stand_in_server.py."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import sys
import threading
from typing import Any

CHUNK = 65536


class Faults:
    server: Any
    connection: socket.socket
    wfile: Any
    headers: Any
    query: dict[str, str]
    close_connection: bool
    start: Any
    wait: Any
    reply_json: Any
    send_response: Any
    send_header: Any
    end_headers: Any

    def do_route_crash(self) -> None:
        """?status= or ?signal=: with last words."""
        print(
            'Traceback (most recent call last):\n  File "/srv/secret/place.py", line 1\nCUDA error in /srv/secret/x.cu'
        )
        sys.stdout.flush()
        if "signal" in self.query:
            os.kill(os.getpid(), int(self.query["signal"]))
        os._exit(int(self.query.get("status", 1)))

    def do_route_mute(self) -> None:
        """From now on /ping is accepted, and never answered."""
        self.server.is_mute = True
        self.reply_json({})

    def do_route_endless(self) -> None:
        """?type=: zeros, until the client goes."""
        self.start(self.query.get("type", ""), 200, None)
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"10000\r\n" + bytes(CHUNK) + b"\r\n")
        except OSError:
            pass

    def do_route_raw(self) -> None:
        """?head=&text=&repeat=&hold=: `head` and `repeat` times `text` are sent as they are; then it hangs up, or waits
        for `hold` seconds."""
        self.close_connection = True
        self.wfile.write(self.query["head"].encode())
        for _ in range(int(self.query.get("repeat", 1))):
            self.wfile.write(self.query.get("text", "").encode())
        self.wait(float(self.query.get("hold", 0)))

    def do_route_v1(self) -> None:
        """/v1/realtime?end=: a WebSocket that greets, reads once, and ends: drop, crash, or with a close code."""
        self.close_connection = True
        accept = hashlib.sha1((self.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(accept.digest()).decode())
        self.end_headers()
        self.wfile.write(b"\x81\x05hello")
        self.connection.recv(CHUNK)
        if self.query["end"] == "crash":
            os._exit(7)
        if self.query["end"] != "drop":
            self.wfile.write(b"\x88\x02" + int(self.query["end"]).to_bytes(2, "big"))
            self.connection.recv(CHUNK)

    def do_route_deaf(self) -> None:
        """?seconds=: takes no more connections, and ends after that."""
        self.close_connection = True
        self.server.socket.shutdown(socket.SHUT_RDWR)
        threading.Timer(float(self.query["seconds"]), os._exit, (0,)).start()
        self.reply_json({})
