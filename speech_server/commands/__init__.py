"""The subcommands of python -m speech_server."""
