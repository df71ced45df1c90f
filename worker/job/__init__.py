"""What a job may say: its input parsed and checked, and the files it names brought here."""
