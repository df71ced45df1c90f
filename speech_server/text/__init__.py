"""Text made ready to be read aloud: reading of signs and numbers, sentence splitting. Pure functions."""
