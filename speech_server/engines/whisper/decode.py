"""The steps of Whisper on batches of jobs: features, encoder, language, decoder. Called on worker threads."""

from __future__ import annotations

from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_compression_ratio, get_suppressed_tokens

from speech_server.engines.interfaces import TranscribeOptions
from speech_server.engines.mel import log_mel
from speech_server.engines.whisper.job import Attempt, Job

_MAX_LENGTH = 448  # tokens of prompt and text
_PROMPT = _MAX_LENGTH // 2 - 1
_BEST_OF = 5  # samples drawn at a temperature
_FIRST_TIMESTAMP = 50  # steps of 20 ms: text starts within the first second


class Decoder:
    """The library's model, called piece by piece."""

    def __init__(self, library: WhisperModel) -> None:
        self.library = library
        self.model = library.model
        self._suppressed = get_suppressed_tokens(self.tokenizer("transcribe", "en"), [-1])

    def tokenizer(self, task: str, language: str) -> Tokenizer:
        return Tokenizer(self.library.hf_tokenizer, self.model.is_multilingual, task=task, language=language)

    def prompt(self, tokenizer: Tokenizer, options: TranscribeOptions) -> list[int]:
        """Hotwords and prompt share half of the decoder's context; the prompt's end counts most."""
        hotwords = tokenizer.encode(" " + options.hotwords.strip())[: _PROMPT // 2] if options.hotwords else []
        text = tokenizer.encode(" " + options.prompt.strip()) if options.prompt and options.prompt.strip() else []
        previous = hotwords + text[-(_PROMPT - len(hotwords)) :]
        prompt: list[int] = self.library.get_prompt(tokenizer, previous, without_timestamps=options.without_timestamps)
        return prompt

    def encode(self, job: Job) -> None:
        """With silence up to the window's end: Whisper knows it, but not the zero features that padding later gives."""
        features = log_mel(job.part, self.model.n_mels, job.window)
        view = ctranslate2.StorageView.from_array(features[np.newaxis])
        encoded = self.model.encode(view, to_cpu=self.model.device == "cuda")
        if encoded.dtype == ctranslate2.DataType.bfloat16:  # which NumPy does not know
            encoded = encoded.to(ctranslate2.DataType.float32)
        job.encoded = encoded

    def detect_languages(self, jobs: list[Job]) -> list[tuple[str, float]]:
        found = self.model.detect_language(_join([job.encoded for job in jobs]))
        return [_likeliest(best, job.request.options.languages) for best, job in zip(found, jobs, strict=True)]

    def decode(self, jobs: list[Job]) -> list[Attempt]:
        """One attempt for each job; all of one kind, languages known."""
        options = jobs[0].request.options
        temperature = options.temperatures[jobs[0].temperature]
        how: dict[str, Any] = {"beam_size": options.beam_size, "patience": 1.0}
        if temperature > 0:
            how = {
                "beam_size": 1,
                "num_hypotheses": _BEST_OF,
                "sampling_topk": 0,
                "sampling_temperature": temperature,
            }
        results = self.model.generate(
            _join([job.encoded for job in jobs]),
            [self.prompt(job.request.tokenizer, job.request.options) for job in jobs],
            max_length=_MAX_LENGTH,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
            max_initial_timestamp_index=_FIRST_TIMESTAMP,
            **how,
        )
        return [_attempt(job, result, temperature) for job, result in zip(jobs, results, strict=True)]


def _attempt(job: Job, result: Any, temperature: float) -> Attempt:
    tokens = result.sequences_ids[0]
    assert job.request.tokenizer
    text = job.request.tokenizer.decode(tokens).strip()
    # The score is a mean over the tokens without the end mark, which Whisper's own mean counts.
    mean = result.scores[0] * len(tokens) / (len(tokens) + 1)
    return Attempt(tokens, text, temperature, mean, get_compression_ratio(text), result.no_speech_prob)


def _likeliest(found: list[tuple[str, float]], languages: tuple[str, ...]) -> tuple[str, float]:
    """Of the languages asked for; `found` begins with the likeliest of all."""
    coded = [(token[2:-2], float(probability)) for token, probability in found]
    return next((entry for entry in coded if entry[0] in languages), coded[0])


def _join(views: list[Any]) -> Any:
    if len(views) == 1:
        return views[0]
    return ctranslate2.StorageView.from_array(np.concatenate([np.asarray(view) for view in views]))
