"""An OpenAI-compatible speech server: transcription, translation, speech, voice activity, realtime."""
