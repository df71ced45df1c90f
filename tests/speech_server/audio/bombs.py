"""Files that are small to send and large to read, made box by box."""

from __future__ import annotations

import struct

from tests.speech_server.audio.making import make

AAC, MP3 = 0x40, 0x6B  # MPEG-4's object types
_AAC_LC_16K_MONO = b"\x14\x08"


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, *parts: bytes, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", flags), *parts)


def _descriptor(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80, 0x80, 0x80, len(content)]) + content


def _esds(codec: int, config: bytes) -> bytes:
    specific = _descriptor(5, config) if config else b""
    decoder = _descriptor(4, bytes([codec, 0x15]) + bytes(3) + struct.pack(">II", 64_000, 64_000) + specific)
    return _full(b"esds", _descriptor(3, struct.pack(">HB", 1, 0) + decoder + _descriptor(6, b"\x02")))


def packets(
    count: int,
    *,
    size: int = 0,
    per_chunk: int = 1,
    rate: int = 16_000,
    delta: int = 1024,
    codec: int = AAC,
    apart: int = 0,
) -> bytes:
    """An MP4 of `count` packets whose chunks all lie at the same bytes, or in turn at two places so far `apart`.

    `size` 0: a table of sizes, 9 bytes each; else one size for all, and no table.
    """
    config = _AAC_LC_16K_MONO if codec == AAC else b""
    sizes = b"" if size else struct.pack(">I", 9) * count
    chunks = count // per_chunk

    def moov(start: int) -> bytes:
        entry = _box(
            b"mp4a", bytes(6), struct.pack(">H8xHHHHI", 1, 1, 16, 0, 0, rate << 16), _esds(codec, config)
        )  # fmt: skip
        table = _box(
            b"stbl",
            _full(b"stsd", struct.pack(">I", 1), entry),
            _full(b"stts", struct.pack(">III", 1, count, delta)),
            _full(b"stsc", struct.pack(">IIII", 1, 1, per_chunk, 1)),
            _full(b"stsz", struct.pack(">II", size, count), sizes),
            _full(b"stco", struct.pack(">I", chunks), struct.pack(">II", start, start + apart) * (chunks // 2)),
        )
        dinf = _box(b"dinf", _full(b"dref", struct.pack(">I", 1), _full(b"url ", flags=1)))
        length = count * delta & 0xFFFFFFFF
        mdia = _box(
            b"mdia",
            _full(b"mdhd", struct.pack(">IIIIHH", 0, 0, rate, length, 0x55C4, 0)),
            _full(b"hdlr", bytes(4), b"soun", bytes(12), b"a\0"),
            _box(b"minf", _full(b"smhd", bytes(4)), dinf, table),
        )
        tkhd = _full(b"tkhd", struct.pack(">IIIII", 0, 0, 1, 0, length), bytes(60), flags=7)
        mvhd = _full(b"mvhd", struct.pack(">IIII", 0, 0, 16_000, length), bytes(80))
        return _box(b"moov", mvhd, _box(b"trak", tkhd, mdia))

    ftyp = _box(b"ftyp", b"isom\0\0\0\0isom")
    start = len(ftyp) + len(moov(0)) + 8
    return ftyp + moov(start) + _box(b"mdat", bytes(apart + 4096))


def probing(count: int = 2_000_000) -> bytes:
    """8 kB of MP4: packets that FFmpeg decodes to find out what they are, and never does."""
    return packets(count, size=1, per_chunk=2000, rate=0, delta=0, codec=MP3)


def tagged_mp3(tags: int) -> bytes:
    """Each tag is compared with all before it."""
    frames = b"".join(b"TXXX" + _syncsafe(10) + bytes(3) + b"%07x\0v" % number for number in range(tags))
    return b"ID3\x04\0\0" + _syncsafe(len(frames)) + frames + make("mp3")


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 127 for shift in (21, 14, 7, 0))


def comments(tags: int) -> bytes:
    entries = b"".join(struct.pack("<I", 9) + b"%07x=v" % number for number in range(tags))
    return struct.pack("<I", 1) + b"x" + struct.pack("<I", tags) + entries


def tagged_flac(tags: int) -> bytes:
    whole, at = make("flac"), 4
    about, vorbis = whole[8:42], comments(tags)
    last = False
    while not last:
        last, at = whole[at] >= 128, at + 4 + int.from_bytes(whole[at + 1 : at + 4])
    return b"fLaC\0" + (34).to_bytes(3) + about + b"\x84" + len(vorbis).to_bytes(3) + vorbis + whole[at:]


def ogg_pages(packet: bytes, serial: int, first_number: int, position: int) -> bytes:
    """A packet alone on as many pages as it needs, with their checksums."""
    pages, at, number = [], 0, first_number
    while at <= len(packet):
        piece = packet[at : at + 255 * 255]
        ends = len(piece) < 255 * 255
        lacing = bytes([255]) * (len(piece) // 255) + (bytes([len(piece) % 255]) if ends else b"")
        flags = (1 if at else 0) | (2 if not number else 0)
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, position if ends else -1, serial, number, 0, len(lacing))
        page = bytearray(head + lacing + piece)
        page[22:26] = struct.pack("<I", _ogg_checksum(bytes(page)))
        pages.append(bytes(page))
        at, number = at + 255 * 255, number + 1
    return b"".join(pages)


def _ogg_checksum(data: bytes) -> int:
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(value)
    checksum = 0
    for byte in data:
        checksum = (checksum << 8 & 0xFFFFFFFF) ^ table[checksum >> 24 ^ byte]
    return checksum


def chained_ogg(tags: int) -> bytes:
    """A sound recording, and behind it in the same file another, whose comments are many."""
    head = b"OpusHead" + struct.pack("<BBHIhB", 1, 1, 312, 48_000, 0, 0)
    sound = ogg_pages(b"\xf8\xff\xfe", 7, 3, 48_000)
    second = ogg_pages(head, 7, 0, 0) + ogg_pages(b"OpusTags" + comments(tags), 7, 1, 0) + sound
    return make("opus", seconds=4.0) + second


def many_tracks(count: int) -> bytes:
    """A Matroska file whose header announces `count` tracks."""

    def element(kind: bytes, content: bytes) -> bytes:
        return kind + (len(content) | 1 << 56).to_bytes(8) + content

    def track(number: int) -> bytes:
        audio = element(b"\xe1", element(b"\x9f", b"\1"))
        return element(
            b"\xae",
            element(b"\xd7", number.to_bytes(4))
            + element(b"\x73\xc5", number.to_bytes(4))
            + element(b"\x83", b"\2")
            + element(b"\x86", b"A_PCM/INT/LIT")
            + audio,
        )

    header = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska"))
    tracks = element(b"\x16\x54\xae\x6b", b"".join(track(number + 1) for number in range(count)))
    return header + element(b"\x18\x53\x80\x67", tracks)


def claiming_wav() -> bytes:
    """A header that claims 4 GB of 384 kHz in 64 channels, and a hundred bytes."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 64, 384_000, 49_152_000, 128, 16)
    return b"RIFF\xff\xff\xff\xffWAVE" + form + b"data\xff\xff\xff\xff" + bytes(100)


def empty_ogg_packets(count: int) -> bytes:
    """Pages of 255 empty packets."""
    start = make("opus", seconds=0.1)
    serial = struct.unpack_from("<I", start, 14)[0]
    pages = []
    for number in range(count // 255):
        head = struct.pack("<4sBBqIIIB", b"OggS", 0, 0, 0, serial, 10 + number, 0, 255)
        pages.append(bytearray(head + bytes(255)))
    for page in pages:
        page[22:26] = struct.pack("<I", _ogg_checksum(bytes(page)))
    return start + b"".join(pages)
