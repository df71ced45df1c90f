"""Words appear while they are spoken; with --intent conversation they are answered aloud, with translation English."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from endpoint.errors import BadArgument, Refused, Unreachable
from endpoint.platform.jobs import Jobs, Piece, open_jobs
from endpoint.talk_sound import MICROPHONE, Sink, open_sink, read_file, read_microphone
from endpoint.transcribe import add_common
from endpoint.where import Where, find

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

ADDRESS_SECONDS = 600.0  # a worker may have to start first
ANSWER = "answer"  # the one that is due to a turn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "source", nargs="?", default=MICROPHONE, metavar="FILE", help="audio or video file; without one, the microphone"
    )
    add("--intent", choices=("transcription", "conversation", "translation"), default="transcription")
    add("--model", help="what transcribes or translates (whisper-1), or the model that answers")
    add("--language", help="language of the speech; detected by default")
    add("--voice", help="voice of the answers, or of the English")
    add("--fast", action="store_true", help="send the file as fast as the server takes it")
    add_common(parser, "write the answers' sound here, a .wav file")


async def run(args: argparse.Namespace) -> int:
    from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

    if args.source != MICROPHONE and not Path(args.source).is_file():
        raise BadArgument(f"no such file: {args.source}")
    where = find(args.at, os.environ, args.api_key)
    try:
        async with connection(where, args) as socket:
            with open_sink(args.output, args.source) as sink:
                return await converse(socket, args, sink)
    except InvalidStatus as refusal:
        words = (refusal.response.body or b"").decode(errors="replace")
        raise Refused(f"the server refused the session ({refusal.response.status_code}): {words[:300]}") from None
    except ConnectionClosed as closed:
        raise Refused(f"the session was closed: {closed.rcvd.reason if closed.rcvd else 'connection lost'}") from None
    except (OSError, InvalidHandshake) as error:
        raise Unreachable(f"{where.url}: {error}; --at names another") from None


@asynccontextmanager
async def connection(where: Where, args: argparse.Namespace) -> AsyncIterator[ClientConnection]:
    """A WebSocket to the server itself, or to a worker that holds a job open for it."""
    from websockets.asyncio.client import connect

    default = "gpt-4o-mini" if args.intent == "conversation" else "whisper-1"
    query = {"model": args.model or default, "language": args.language}
    if args.intent != "translation":
        query["intent"] = args.intent
    query = {name: value for name, value in query.items() if value}
    path = "/realtime/translations" if args.intent == "translation" else "/realtime"
    if where.takes_jobs:
        async with open_jobs(where) as jobs:
            async with (
                jobs.session(f"/v1{path}", query, ADDRESS_SECONDS) as session,
                connect(session.url, additional_headers=session.headers, max_size=None) as socket,
            ):
                yield socket
            await show_end(jobs, session.job_id)
        return
    url = f"ws{where.url.removeprefix('http')}{path}?{urlencode(query)}"
    async with connect(url, additional_headers=where.headers, max_size=None) as socket:
        yield socket


async def show_end(jobs: Jobs, job_id: str) -> None:
    async for seen in jobs.follow(job_id):
        if not isinstance(seen, Piece) and seen.is_final:
            print(json.dumps(seen.result()), file=sys.stderr)


def settings(args: argparse.Namespace, *, heard: bool) -> dict[str, Any]:
    """What the session is set to beside its query. A translation that nobody hears is not spoken."""
    voice: dict[str, Any] = {"audio": {"output": {"voice": args.voice}}} if args.voice else {}
    if args.intent == "translation":
        return voice if heard else voice | {"output_modalities": ["text"]}
    return voice and {"type": "realtime", **voice}


async def converse(socket: ClientConnection, args: argparse.Namespace, sink: Sink | None) -> int:
    if session := settings(args, heard=sink is not None):
        await send(socket, "session.update", session=session)
    speaking = asyncio.create_task(speak(socket, args))
    showing = asyncio.create_task(Screen(sink, answers=args.intent == "conversation").show(socket))
    try:
        done, _ = await asyncio.wait((speaking, showing), return_when=asyncio.FIRST_COMPLETED)
        if speaking in done:
            speaking.result()  # a file that cannot be read, a microphone that is not there
        return await showing
    finally:
        for task in (speaking, showing):
            task.cancel()
        await asyncio.gather(speaking, showing, return_exceptions=True)


async def speak(socket: ClientConnection, args: argparse.Namespace) -> None:
    microphone = args.source == MICROPHONE
    frames = read_microphone() if microphone else read_file(Path(args.source), fast=args.fast)
    async with aclosing(frames):  # type: ignore[type-var]  # async generators, as read_* are written
        async for frame in frames:
            await send(socket, "input_audio_buffer.append", audio=base64.b64encode(frame).decode())
    # Events are obeyed in order: once the buffer is cleared, all that was said has been heard.
    await send(socket, "session.close" if args.intent == "translation" else "input_audio_buffer.clear")


async def send(socket: ClientConnection, kind: str, **fields: Any) -> None:
    await socket.send(json.dumps({"type": kind, **fields}))


class Screen:
    """Prints words as they come, a line per turn; the answers' lines begin with >."""

    def __init__(self, sink: Sink | None, *, answers: bool) -> None:
        self._sink = sink
        self._answers = answers
        self._line = ""
        self._open: set[str] = set()  # turns and answers that are not done
        self._all_heard = False
        self._faults = 0

    async def show(self, socket: ClientConnection) -> int:
        """Until everything that was said is answered; 1 when something failed."""
        async for message in socket:
            self._take(json.loads(message))
            if self._all_heard and not self._open:
                break
        return 1 if self._faults else 0

    def _take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "conversation.item.input_audio_transcription.delta" | "session.output_transcript.delta":
                self._print(event["delta"])
            case "conversation.item.input_audio_transcription.completed":
                self._end_line(event["transcript"])
                if self._answers and event["transcript"]:
                    self._open.add(ANSWER)
            case "input_audio_buffer.committed":
                self._open.add(event["item_id"])
            case "conversation.item.done":
                self._open.discard(event["item"]["id"])
            case "response.created":
                self._open = self._open - {ANSWER} | {event["response"]["id"]}
            case "response.output_audio_transcript.delta" | "response.output_text.delta":
                self._print(event["delta"] if self._line else f"> {event['delta']}")
            case "response.output_audio.delta" | "session.output_audio.delta" if self._sink:
                self._sink.write(base64.b64decode(event["delta"]))
            case "response.done":
                self._end_line(self._line)
                self._open.discard(event["response"]["id"])
            case "input_audio_buffer.speech_started" if self._sink:
                self._sink.interrupt()
            case "input_audio_buffer.cleared":
                self._all_heard = True
            case "session.closed":
                self._end_line(self._line)
                self._all_heard = True
            case "conversation.item.input_audio_transcription.failed" | "error":
                self._faults += 1
                print(f"error: {event['error']['message']}", file=sys.stderr)

    def _print(self, text: str) -> None:
        self._line += text
        print(text, end="", flush=True)

    def _end_line(self, final: str) -> None:
        """The final text stands where it differs from what was printed word by word."""
        if final != self._line and self._line:
            print("\r\033[K" if sys.stdout.isatty() else "\n= ", end="")
        if final != self._line:
            print(final, end="")
        if final or self._line:
            print(flush=True)
        self._line = ""
