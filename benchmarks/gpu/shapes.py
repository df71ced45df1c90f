"""Whisper's shapes, and the arithmetic, bytes and traffic that follow from them: what the measurements are held to."""

from __future__ import annotations

from dataclasses import dataclass

from speech_server.engines.whisper.memory import Dimensions, keys_and_values, need

FRAMES = 50  # positions of the encoder in a second
TOKENS = 90  # of text in a 30 s window: English, read aloud
POSITIONS = 448  # of the decoder
PROMPT = 4  # start, language, task, no timestamps
HALF = 2  # bytes of a float16


@dataclass(frozen=True)
class Shape:
    """Layers and width of a Whisper with the vocabulary of large-v3; heads are 64 wide."""

    name: str
    width: int
    encoder: int
    decoder: int
    mels: int = 128
    words: int = 51_866

    @property
    def heads(self) -> int:
        return self.width // 64

    @property
    def decoder_weights(self) -> int:
        """Bytes that a decoding step reads: two attentions and the feed-forward of each layer, the output's words."""
        return HALF * (self.decoder * 16 * self.width**2 + self.words * self.width)

    @property
    def weights(self) -> int:
        """Bytes of the model at float16; input words apart from the output's, as the made-up ones are."""
        convolutions = 3 * self.width * (self.mels + self.width)
        encoder = self.encoder * 12 * self.width**2 + convolutions + 30 * FRAMES * self.width
        words = HALF * (self.words + POSITIONS) * self.width
        return HALF * encoder + self.decoder_weights + words

    def encoding(self, seconds: float) -> float:
        """Floating point operations of a window: 24 T d2 + 4 T2 d a layer, and the two convolutions."""
        positions = seconds * FRAMES
        layer = 24 * positions * self.width**2 + 4 * positions**2 * self.width
        return self.encoder * layer + 6 * positions * self.width * (2 * self.mels + self.width)

    def cached(self, beam: int, tokens: int = TOKENS + PROMPT) -> int:
        """Bytes a 30 s window takes in a batch: keys and values of the sound, once, and of the text, for each beam."""
        return keys_and_values(self.decoder, self.width, 30 * FRAMES + beam * tokens, HALF)

    def planned(self, beam: int, tokens: int = TOKENS + PROMPT) -> int:
        """Bytes that the server plans with for the same window."""
        return need(Dimensions(self.width, self.decoder, self.words), beam, "float16", tokens).work

    def step(self, batch: int, beam: int) -> int:
        """Bytes that one decoding step reads, at the middle of the text: it is bound by memory."""
        return self.decoder_weights + batch * self.cached(beam, (TOKENS + PROMPT) // 2)


TURBO = Shape("large-v3-turbo", 1280, 32, 4)
LARGE = Shape("large-v3", 1280, 32, 32)
TINY = Shape("tiny", 64, 2, 2)
