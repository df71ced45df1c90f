"""Talk to a speech server: transcribe or translate a file, speak a text."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import json
import os
import sys
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from outgoing.errors import OutgoingError

if TYPE_CHECKING:
    import httpx

REALTIME = "speech_server.commands.client_realtime"
SERVER = "http://127.0.0.1:8000"
FORMATS = ("mp3", "wav", "flac", "opus", "aac", "pcm")
CONNECT_SECONDS = 10.0


class Refused(Exception):
    """The server answered an error; the message is its own."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, route in (("transcribe", "transcriptions"), ("translate", "translations")):
        help_text = {"transcribe": "audio or video to text", "translate": "speech of any language to English text"}
        hear = commands.add_parser(name, help=help_text[name])
        hear.add_argument("file", type=Path, metavar="FILE", help="audio or video file; - reads standard input")
        hear.add_argument("--model", default="whisper-1", help="model id or alias (whisper-1)")
        hear.add_argument("--language", help="language of the speech, a code or a name; detected by default")
        hear.add_argument("--prompt", help="text to guide spelling and style")
        hear.add_argument(
            "--format", choices=("text", "json", "verbose_json", "srt", "vtt"), default="text", help="(text)"
        )
        hear.add_argument("--timestamps", action="store_true", help="one line per segment, with its times")
        hear.add_argument("--stream", action="store_true", help="print words as they are heard")
        hear.set_defaults(command=transcribe, route=route)
        add_common(hear, "write the text here instead of printing it")
    speak_parser = commands.add_parser("speak", help="text to speech")
    speak_parser.add_argument("text", metavar="TEXT", help="what to say; - reads standard input")
    speak_parser.add_argument("--model", default="tts-1", help="model id or alias (tts-1)")
    speak_parser.add_argument("--voice", default="", help="a voice of the model; see GET /v1/audio/voices")
    speak_parser.add_argument("--speed", type=float, default=1.0, help="times the voice's own pace (1.0)")
    speak_parser.add_argument("--format", choices=FORMATS, help="(by --output's name, else mp3)")
    speak_parser.add_argument("--stream", action="store_true", help="write audio while it is made, wav too")
    speak_parser.set_defaults(command=speak)
    add_common(speak_parser, "audio file to write, - for standard output (speech.FORMAT)")
    if importlib.util.find_spec(REALTIME):
        realtime = importlib.import_module(REALTIME)
        talk = commands.add_parser("realtime", help="a conversation over a WebSocket")
        realtime.add_arguments(talk)
        talk.set_defaults(command=realtime.run)


def add_common(parser: argparse.ArgumentParser, output: str) -> None:
    parser.add_argument("--output", "-o", help=output)
    parser.add_argument("--server", default=os.environ.get("SPEECH_SERVER_URL", SERVER), help=f"({SERVER})")
    parser.add_argument("--api-key", default=os.environ.get("API_KEY"), help="(API_KEY)")


def run(args: argparse.Namespace) -> int:
    import httpx

    try:
        return int(args.command(args) or 0)
    except (Refused, OutgoingError, OSError) as error:
        fault = str(error)
    except httpx.HTTPError as error:
        fault = f"{args.server}: {error or type(error).__name__}; is the server running? --server names another"
    except KeyboardInterrupt:
        fault = "interrupted"
    print(f"error: {fault}", file=sys.stderr)
    return 1


def open_client(args: argparse.Namespace) -> httpx.Client:
    import httpx

    from outgoing.door import Door
    from outgoing.http import transport
    from outgoing.url import parse_base

    headers = {"Authorization": f"Bearer {args.api_key}"} if args.api_key else {}
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)  # an hour of audio takes its time
    way = transport(Door.of_operator(), httpx)
    return httpx.Client(base_url=parse_base(args.server), headers=headers, timeout=timeout, transport=way)


def checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        response.read()
        try:
            raise Refused(response.json()["error"]["message"])
        except (ValueError, KeyError, TypeError):
            raise Refused(f"{response.request.url} answered {response.status_code}") from None
    return response


def transcribe(args: argparse.Namespace) -> None:
    from speech_server.commands.client_progress import TranscriptionBar

    shape = "verbose_json" if args.timestamps and not args.stream else args.format
    fields = {"model": args.model, "response_format": shape, "language": args.language, "prompt": args.prompt}
    fields = {name: value for name, value in fields.items() if value}
    request_id = uuid.uuid4().hex
    with open_client(args) as client, open_audio(args.file) as audio:
        size = audio.seek(0, os.SEEK_END)
        audio.seek(0)
        with TranscriptionBar(client, audio, size, request_id) as bar:
            request = client.build_request(
                "POST",
                f"/v1/audio/{args.route}",
                data={**fields, "stream": str(args.stream).lower()},
                files={"file": (args.file.name, cast("BinaryIO", bar.upload))},
                headers={"X-Request-ID": request_id},
            )
            response = checked(client.send(request, stream=args.stream))
            bar.close()
            text = print_deltas(response) if args.stream else response.text
    if args.timestamps and not args.stream:
        text = "\n".join(timed_lines(json.loads(text)))
    if args.output or not args.stream:
        write_text(text, args.output)


def open_audio(path: Path) -> BinaryIO:
    return io.BytesIO(sys.stdin.buffer.read()) if str(path) == "-" else path.open("rb")


def timed_lines(body: dict[str, Any]) -> list[str]:
    return [f"[{part['start']:8.2f} -> {part['end']:8.2f}]{part['text']}" for part in body["segments"]]


def write_text(text: str, output: str | None) -> None:
    text = text if text.endswith("\n") else text + "\n"
    if output and output != "-":
        Path(output).write_text(text, "utf-8")
    else:
        sys.stdout.write(text)


def print_deltas(response: httpx.Response) -> str:
    """Prints words as they come; the whole text."""
    text = ""
    for line in response.iter_lines():
        event = json.loads(line.removeprefix("data: ") or "{}")
        if event.get("type") == "error":
            raise Refused(event["error"]["message"])
        if event.get("type") == "transcript.text.delta":
            text += event["delta"]
            print(event["delta"], end="", flush=True)
    print()
    return text


def speak(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    named = Path(args.output).suffix.removeprefix(".") if args.output else ""
    shape = args.format or (named if named in FORMATS else "mp3")
    output = args.output or f"speech.{shape}"
    text = sys.stdin.read() if args.text == "-" else args.text
    body = {"model": args.model, "input": text, "voice": args.voice, "speed": args.speed, "response_format": shape}
    if args.stream:
        body["stream_format"] = "audio"
    with open_client(args) as client, client.stream("POST", "/v1/audio/speech", json=body) as response:
        checked(response)
        with (
            nullcontext(sys.stdout.buffer) if output == "-" else Path(output).open("wb") as file,
            tqdm(unit="B", unit_scale=True, desc="speaking", disable=None, leave=False) as bar,
        ):
            for chunk in response.iter_bytes():
                file.write(chunk)
                file.flush()
                bar.update(len(chunk))
    if output != "-":
        print(output)
