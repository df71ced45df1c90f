"""Whisper checkpoints -> CTranslate2 folders, in the precision one wants."""
