"""python -m endpoint.gateway.smaller < recording > opus: the same words in a fraction of the bytes.

A process of its own: what strangers upload is decoded away from the keys, can be stopped, and gives its memory back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger("endpoint.gateway")

# 16 kHz is all that Whisper hears. An hour is 14 MB; benchmarks/rows/gateway.py counts the words it costs.
RATE, BIT_RATE = 16_000, 32_000
_LONGEST = 24 * 3600.0  # seconds of sound
_ROOT = Path(__file__).parents[2]


async def smaller(file: BinaryIO, name: str, seconds: float) -> BinaryIO | None:
    """The recording as Opus in a temporary file; None where it is no sound, or cannot be had in so many seconds."""
    made = tempfile.TemporaryFile()  # noqa: SIM115 (closed by who asked)
    file.seek(0)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, stdin=file, stdout=made, stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    said = b"it took too long"
    try:
        async with asyncio.timeout(seconds):
            said = (await process.communicate())[1]
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return made
    made.close()
    log.info("%s stays as it is: %s", name, said.decode(errors="replace").strip().rpartition("\n")[2][:300])
    return None


def main() -> int:
    from speech_server.audio.budget import Limits
    from speech_server.audio.codecs import Opus
    from speech_server.audio.decode import stream
    from speech_server.errors import SpeechError

    codec = Opus(RATE, BIT_RATE, "voip")
    try:
        for samples in stream(sys.stdin.buffer, Limits(_LONGEST), rate=RATE):
            sys.stdout.buffer.write(codec.feed(samples))
    except SpeechError as error:
        print(error.message, file=sys.stderr)
        return 1
    for block in codec.finish():
        sys.stdout.buffer.write(block)
    return 0


if __name__ == "__main__":
    sys.exit(main())
