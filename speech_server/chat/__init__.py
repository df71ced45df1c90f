"""Voice chat: transcribe, ask a language model, speak."""
