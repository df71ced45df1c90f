"""Sound in and out: decode any container to samples, encode samples to six formats."""
