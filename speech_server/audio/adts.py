"""ADTS, the framing of AAC streams (ISO 14496-3, 1.A.3 and 4.4.2.1): headers, and frames filled to a constant rate."""

from __future__ import annotations

_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_END, _FILL = 0b111, 0b110  # element ids, 3 bits
_FILL_MOST = 14 + 255  # payload bytes of one fill element with an escaped count
_FILL_PLAIN = 14  # and without


def with_header(frame: bytes, rate: int) -> bytes:
    """One raw AAC-LC mono frame as an ADTS frame of one block without a checksum."""
    length = len(frame) + 7
    fields = (
        (0xFFF, 12),  # sync
        (0b0001, 4),  # MPEG-4, layer 0, no checksum
        (1, 2),  # AAC-LC
        (_RATES.index(rate), 4),
        (0, 1),
        (1, 3),  # one channel
        (0, 4),
        (length, 13),
        (0x7FF, 11),  # buffer fullness: not told
        (0, 2),  # one block
    )
    header = 0
    for value, bits in fields:
        header = header << bits | value
    return header.to_bytes(7, "big") + frame


def fill(frame: bytes, size: int) -> bytes:
    """The raw frame with fill elements before its end element, `size` bytes long. Larger ones stay as they are."""
    if len(frame) >= size:
        return frame
    bits = int.from_bytes(frame, "big")
    # The end element's three ones are the last that are set; what follows aligns to bytes.
    tail = (bits & -bits).bit_length() + 2
    bits >>= tail
    length = len(frame) * 8 - tail
    room = size * 8 - length - 3
    while room >= 7:
        head, head_bits, count = _fill_head(room)
        bits = (bits << head_bits | head) << count * 8
        length += head_bits + count * 8
        room -= head_bits + count * 8
    bits = bits << 3 | _END
    return (bits << size * 8 - length - 3).to_bytes(size, "big")


def _fill_head(room: int) -> tuple[int, int, int]:
    """(bits before the payload, how many they are, payload bytes) of the largest fill element in `room` bits."""
    count = (room - 7) // 8
    if count <= _FILL_PLAIN:
        return _FILL << 4 | count, 7, count
    count = min((room - 15) // 8, _FILL_MOST)
    if count < 15:
        return _FILL << 4 | _FILL_PLAIN, 7, _FILL_PLAIN
    return (_FILL << 4 | 15) << 8 | count - 14, 15, count


def constant_size(sizes: list[int], least: int) -> int:
    """The smallest constant frame size, at least `least`, at which the larger frames among `sizes` have been made good
    by the smaller ones after them when the last is sent."""
    size = least
    while size < max(sizes, default=0):
        debt = 0
        for frame in sizes:
            debt = max(0, debt + frame - size)
        if not debt:
            break
        size += 1
    return size
