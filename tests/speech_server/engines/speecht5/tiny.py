"""A SpeechT5 a few kilobytes large: the published files, names and shapes, and networks whose sound can be read.

Every character is spoken by one step, as 512 equal samples of its number in thousandths above the voice's first
number. As in optimum's merged decoder, the branch with a past gives the text's part of it away empty: who does not keep
that of the first step cannot know when the text ends.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser

from speech_server.domain import Samples

BANDS, HEADS, SIZE, HOP = 8, 2, 3, 256
CHARACTERS = "▁etaonihsrdlucmfwgy,pb.vk\"I'TASH;xW-B?CM!qjENPODLGRFYzJ:KUV)(QZ][X—/æé{}êœ̄"
VOCABULARY = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, **{one: 4 + at for at, one in enumerate(CHARACTERS)}}

# As published: with a normaliser that has lost its table.
TOKENIZER = {
    "version": "1.0",
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": None},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
    "model": {"unk_id": 2, "vocab": VOCABULARY | {"<mask>": 79, "<ctc_blank>": 80}},
}

_HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
_ENCODER = f"""{_HEADER}
encoder (int64[1, text] input_ids) => (float[1, text, 1] encoder_outputs, int64[1, text] encoder_attention_mask) {{
    shape = Shape (input_ids)
    encoder_attention_mask = ConstantOfShape <value = int64[1] {{1}}> (shape)
    numbers = Cast <to = 1> (input_ids)
    last = Constant <value = int64[1] {{2}}> ()
    encoder_outputs = Unsqueeze (numbers, last)
}}"""
_STEP = f"""
    flat = Constant <value = int64[1] {{-1}}> ()
    first_place = Constant <value = int64 {{0}}> ()
    states = Reshape (encoder_hidden_states, flat)
    number = Gather (states, at)
    thousand = Constant <value = float {{1000.0}}> ()
    above = Div (number, thousand)
    speaker = Reshape (speaker_embeddings, flat)
    voice = Gather (speaker, first_place)
    level = Add (voice, above)
    frames = Constant <value = int64[2] {{2, {BANDS}}}> ()
    spectrum = Expand (level, frames)
    frame = Constant <value = int64[3] {{1, 1, {BANDS}}}> ()
    heard = Expand (level, frame)
    output_sequence_out = Concat <axis = 1> (output_sequence, heard)
    next_place = Constant <value = int64 {{1}}> ()
    spoken = Add (at, next_place)
    ended = GreaterOrEqual (spoken, characters)
    sure = Cast <to = 1> (ended)
    both = Constant <value = int64[1] {{2}}> ()
    prob = Expand (sure, both)
"""
_FIRST = f"""
    at = Constant <value = int64 {{0}}> ()
    asked = Shape (encoder_attention_mask)
    text_axis = Constant <value = int64 {{1}}> ()
    characters = Gather (asked, text_axis)
    one = Constant <value = int64[4] {{1, {HEADS}, 1, {SIZE}}}> ()
    "present.0.decoder.key" = ConstantOfShape (one)
    "present.0.decoder.value" = ConstantOfShape (one)
    ahead = Constant <value = int64[2] {{1, {HEADS}}}> ()
    text_size = Shape <start = 1, end = 2> (encoder_attention_mask)
    behind = Constant <value = int64[1] {{{SIZE}}}> ()
    all = Concat <axis = 0> (ahead, text_size, behind)
    "present.0.encoder.key" = ConstantOfShape (all)
    "present.0.encoder.value" = ConstantOfShape (all)
"""
_LATER = f"""
    past = Shape ("past_key_values.0.decoder.key")
    past_axis = Constant <value = int64 {{2}}> ()
    at = Gather (past, past_axis)
    known = Shape ("past_key_values.0.encoder.key")
    characters = Gather (known, past_axis)
    one = Constant <value = int64[4] {{1, {HEADS}, 1, {SIZE}}}> ()
    more = ConstantOfShape (one)
    "present.0.decoder.key" = Concat <axis = 2> ("past_key_values.0.decoder.key", more)
    "present.0.decoder.value" = Concat <axis = 2> ("past_key_values.0.decoder.value", more)
    none = Constant <value = int64[4] {{0, {HEADS}, 1, {SIZE}}}> ()
    "present.0.encoder.key" = ConstantOfShape (none)
    "present.0.encoder.value" = ConstantOfShape (none)
"""
_KINDS = ("decoder.key", "decoder.value", "encoder.key", "encoder.value")
_PAST = ", ".join(f'float[batch, {HEADS}, past_{kind[:7]}, {SIZE}] "past_key_values.0.{kind}"' for kind in _KINDS)
_PRESENT = ", ".join(f'float[some, {HEADS}, now_{kind[:7]}, {SIZE}] "present.0.{kind}"' for kind in _KINDS)
_OUTPUTS = f"float[1, t, {BANDS}] output_sequence_out, float[2, {BANDS}] spectrum, float[2] prob, {_PRESENT}"
_DECODER = f"""{_HEADER}
decoder (
    bool[1] use_cache_branch, float[1, s, {BANDS}] output_sequence, float[1, 512] speaker_embeddings,
    float[1, text, 1] encoder_hidden_states, int64[1, text] encoder_attention_mask, {_PAST}
) => ({_OUTPUTS}) {{
    output_sequence_out, spectrum, prob, {", ".join(f'"present.0.{kind}"' for kind in _KINDS)} = If (use_cache_branch) <
        then_branch = with_past () => ({_OUTPUTS}) {{ {_LATER} {_STEP} }},
        else_branch = no_past () => ({_OUTPUTS}) {{ {_FIRST} {_STEP} }}
    >
}}"""
_VOCODER = f"""{_HEADER}
vocoder (float[frames, {BANDS}] spectrogram) => (float[samples] waveform) {{
    start = Constant <value = int64[1] {{0}}> ()
    stop = Constant <value = int64[1] {{1}}> ()
    band = Slice (spectrogram, start, stop, stop)
    hop = Constant <value = int64[2] {{1, {HOP}}}> ()
    long = Expand (band, hop)
    flat = Constant <value = int64[1] {{-1}}> ()
    waveform = Reshape (long, flat)
}}"""


# Never sure of the end; says the first character for ever.
_ENDLESS = _DECODER.replace("Cast <to = 1> (ended)", "Sub (level, level)").replace(
    "(states, at)", "(states, first_place)"
)


def write_model(
    folder: Path,
    *,
    place: str = "onnx/",
    precision: str = "",
    voices: dict[str, float] | None = None,
    endless: bool = False,
) -> Path:
    """A model folder; `voices` are their vectors' first numbers."""
    (folder / place).mkdir(parents=True, exist_ok=True)
    decoder = _ENDLESS if endless else _DECODER
    networks = {"encoder_model": _ENCODER, "decoder_model_merged": decoder, "decoder_postnet_and_vocoder": _VOCODER}
    for name, text in networks.items():
        model = onnx.parser.parse_model(text)
        onnx.checker.check_model(model)
        onnx.save(model, folder / f"{place}{name}{precision}.onnx")
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    for name, first in ({"slt": 0.25} if voices is None else voices).items():
        write_vector(folder / "voices" / f"{name}.bin", first)
    return folder


def write_vector(file: Path, first: float) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(np.array([first, *[0.5] * 511], "<f4").tobytes())
    return file


def said(samples: Samples, voice: float = 0.25) -> str:
    """The text a sound was made of, the end as |. What comes after the sound, and its faded edges, are not read."""
    sound = np.trim_zeros(samples, "b")
    steps = np.pad(sound, (0, -len(sound) % (2 * HOP))).reshape(-1, 2 * HOP)[:, HOP // 2 : -HOP // 2]
    assert np.array_equal(steps, np.broadcast_to(steps[:, :1], steps.shape))
    names = {number: character for character, number in VOCABULARY.items()} | {2: "|"}
    return "".join(names[round(float(step - voice) * 1000)] for step in steps[:, 0]).replace("▁", " ").strip()
