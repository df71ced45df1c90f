"""Decoded tokens -> segments with times, words and log-probabilities, and where to go on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from speech_server.domain import RATE, Segment, TokenLogprob, Word
from speech_server.engines.whisper.decode import Decoder
from speech_server.engines.whisper.job import Attempt, Job, is_silence

_HOP = 160  # samples per frame of features
_PREPEND = "\"'“¿([{-"
_APPEND = "\"'.。,，!！?？:：”)]}、"
_MIN_REST = RATE // 4  # a shorter rest holds no word
_LONG_REST = 3 * RATE  # silence of this length was cut out, if a voice detector was asked: this rest holds speech


def add_segments(decoder: Decoder, job: Job, attempt: Attempt) -> int:
    """Put the attempt's segments into the job; returns how many samples of the part are done."""
    part = len(job.part)
    if is_silence(attempt) or not attempt.text:
        return part
    tokenizer = job.request.tokenizer
    options = job.request.options
    frames = math.ceil(part / _HOP)
    # faster-whisper's own rule for times, which its public `transcribe` applies to whole files only.
    pieces, seek, ended = decoder.library._split_segments_by_timestamps(
        tokenizer, attempt.tokens, 0.0, frames, part / RATE, 0
    )
    if options.word_timestamps:
        decoder.library.add_word_timestamps([pieces], tokenizer, job.encoded, frames, _PREPEND, _APPEND, 0.0)
    segments = [_segment(decoder, job, attempt, piece) for piece in pieces]
    heard = [segment for segment in segments if segment.text.strip() and segment.end > segment.start]
    # All or, where one fails, none: the part may be done again.
    job.segments += [_with_logprobs(decoder, job, segment) for segment in heard] if options.logprobs else heard
    return _done(job, pieces, seek * _HOP, ended)


def _done(job: Job, pieces: list[dict[str, Any]], seek: int, ended: bool) -> int:
    """Whisper may stop before the part ends, because a sentence was cut there or because it lost its way."""
    part = len(job.part)
    rest = _MIN_REST
    if seek >= part and ended and job.chunk.spans:
        seek, rest = round(pieces[-1]["end"] * RATE), _LONG_REST
    return seek if 0 < seek < part - rest else part


def _segment(decoder: Decoder, job: Job, attempt: Attempt, piece: dict[str, Any]) -> Segment:
    offset = job.start / RATE
    length = len(job.chunk.samples) / RATE
    words = tuple(_word(job, offset, word) for word in piece.get("words", ()))
    start = job.chunk.time(min(offset + piece["start"], length))
    end = job.chunk.time(min(offset + piece["end"], length), end=True)
    return Segment(
        start=words[0].start if words else start,
        end=words[-1].end if words else max(start, end),
        text=job.request.tokenizer.decode(piece["tokens"]) if job.request.tokenizer else "",
        tokens=tuple(piece["tokens"]),
        temperature=attempt.temperature,
        avg_logprob=attempt.avg_logprob,
        compression_ratio=attempt.compression_ratio,
        no_speech_prob=attempt.no_speech_prob,
        words=words,
    )


def _word(job: Job, offset: float, word: dict[str, Any]) -> Word:
    start, end = job.chunk.times(offset + float(word["start"]), offset + float(word["end"]))
    return Word(start, end, word["word"], float(word["probability"]))


def _with_logprobs(decoder: Decoder, job: Job, segment: Segment) -> Segment:
    """CTranslate2 gives no log-probability per token of a beam; the aligner reads the text once more and does."""
    tokenizer = job.request.tokenizer
    assert tokenizer
    tokens = [token for token in segment.tokens if token < tokenizer.eot]
    frames = math.ceil(len(job.part) / _HOP)
    aligned = decoder.model.align(job.encoded, tokenizer.sot_sequence, [tokens], frames)[0]
    pairs = zip(tokens, aligned.text_token_probs, strict=False)
    logprobs = (TokenLogprob(tokenizer.decode([token]), math.log(max(p, 1e-10))) for token, p in pairs)
    return replace(segment, logprobs=tuple(logprobs))
