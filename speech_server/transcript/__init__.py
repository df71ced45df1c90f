"""Segments to text: json, verbose_json, srt, vtt; cue splitting. Pure functions."""
