"""A call over WebRTC: one peer, whose events come over a data channel and whose sound over a track (aiortc)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aioice import ice
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError
from aiortc.mediastreams import MediaStreamTrack
from aiortc.sdp import SessionDescription

from speech_server.errors import CallFailed, InvalidRequest
from speech_server.realtime.live.media import Message, TrackAudio
from speech_server.realtime.live.queues import READ_AHEAD, Bounded
from speech_server.realtime.live.track import SpokenTrack, heard
from speech_server.settings import Settings

log = logging.getLogger(__name__)

MOST_CANDIDATES = 64  # addresses that a caller may have us try
MOST_BUFFERED = 256 * 1024  # bytes of events under way
CLOSE_SECONDS = 5.0
ANY = ("0.0.0.0", "::", "")
# What aiortc makes of an offer that is none: it reads first and looks later.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError)
_REFUSED = (InvalidAccessError, InvalidStateError, OperationError)
_all_addresses = ice.get_host_addresses


def listen_on(host: str) -> None:
    """Calls come to the address that the server listens on, and to all of the machine's where it does to all."""

    def addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return _all_addresses(use_ipv4, use_ipv6) if host in ANY else ["127.0.0.1" if host == "localhost" else host]

    # aioice cannot be told which addresses to bind: it asks this function of its own.
    ice.get_host_addresses = addresses


def read_offer(sdp: str) -> RTCSessionDescription:
    """Raises InvalidRequest for what is no offer of one audio track and a data channel."""
    try:
        offer = SessionDescription.parse(sdp)
    except _UNREADABLE:
        raise InvalidRequest("This is no SDP that can be read: send a browser's offer as it is", param="sdp") from None
    kinds = sorted(media.kind for media in offer.media)
    if kinds not in (["audio"], ["application", "audio"]):
        raise InvalidRequest(
            f"The offer has {', '.join(kinds) or 'nothing'}: a call has one audio track, a data channel, and no more",
            param="sdp",
        )
    if sum(len(media.ice_candidates) for media in offer.media) > MOST_CANDIDATES:
        raise InvalidRequest(f"The offer has more than {MOST_CANDIDATES} candidates", param="sdp")
    return RTCSessionDescription(sdp, "offer")


class Call:
    """A session sees it as its socket."""

    def __init__(self, settings: Settings) -> None:
        listen_on(settings.uvicorn_host)
        servers = [RTCIceServer(**server.model_dump()) for server in settings.realtime_ice_servers]
        self._limit = settings.realtime_call_timeout
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self.media = SpokenTrack()
        self._channel: RTCDataChannel | None = None
        self._inbox: Bounded[Message | tuple[()]] = Bounded(READ_AHEAD)
        self._ready, self._drained = asyncio.Event(), asyncio.Event()
        self._over = False
        self._listening: asyncio.Task[None] | None = None
        self._has_channel = False
        self._peer.on("datachannel", self._open)
        self._peer.on("track", self._listen)
        self._peer.on("connectionstatechange", self._look)

    async def answer(self, sdp: str) -> str:
        """The answer to an offer. Raises InvalidRequest, CallFailed."""
        offer = read_offer(sdp)
        self._has_channel = "m=application" in sdp
        try:
            async with asyncio.timeout(self._limit):
                await self._peer.setRemoteDescription(offer)
                self._peer.addTrack(self.media)
                await self._peer.setLocalDescription(await self._peer.createAnswer())
        except (*_UNREADABLE, *_REFUSED) as error:
            log.info("an offer was refused: %r", error)
            raise InvalidRequest(
                "The offer cannot be answered: Opus or G.711, ICE, DTLS are needed", param="sdp"
            ) from None
        except TimeoutError:
            raise CallFailed(f"No address for the call was found within {self._limit:g} seconds") from None
        return self._peer.localDescription.sdp

    async def connected(self) -> bool:
        """False where it comes to nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limit):
                await self._ready.wait()
        return self._ready.is_set() and not self._over

    # --- what the peer does ---

    def _open(self, channel: RTCDataChannel) -> None:
        if self._channel is not None:
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = MOST_BUFFERED // 2
        channel.on("message", self._take)
        channel.on("close", self._end)
        channel.on("bufferedamountlow", self._drained.set)
        self._ready.set()

    def _listen(self, track: MediaStreamTrack) -> None:
        self._listening = asyncio.get_running_loop().create_task(self._hear(track))

    async def _hear(self, track: MediaStreamTrack) -> None:
        async for pcm in heard(track):
            if not self._inbox.full:  # the session has more than it can hear: what comes now is lost
                self._inbox.put(TrackAudio(pcm))

    def _look(self) -> None:
        state = self._peer.connectionState
        if state == "connected" and not self._has_channel:
            self._ready.set()
        elif state in ("failed", "closed"):
            self._end()

    def _take(self, message: str | bytes) -> None:
        if self._inbox.full:
            log.info("a call is over: its events come faster than they are read")
            self._end()
        else:
            self._inbox.put(message)

    def _end(self) -> None:
        self._over = True
        self._ready.set()
        self._drained.set()
        self._inbox.put(())

    # --- what the session sees ---

    async def receive(self) -> Message | None:
        if self._over:
            return None
        (message,) = await self._inbox.take()
        return None if isinstance(message, tuple) else message

    async def send(self, text: str) -> None:
        channel = self._channel
        while channel is not None and not self._over:
            if channel.bufferedAmount > MOST_BUFFERED:
                self._drained.clear()
                await self._drained.wait()
                continue
            with suppress(InvalidStateError):  # it is closing: the next receive says so
                channel.send(text)
            return

    async def close(self) -> None:
        self._over = True
        if self._listening is not None:
            self._listening.cancel()
        self.media.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._peer.close()
