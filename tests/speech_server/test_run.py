"""Starting the server from Python, as users of EasyDeL do."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import httpx
import numpy as np
import pytest

from speech_server.run import dtype_name
from tests.conftest import ROOT, WHISPER

PROGRAM = """
import speech_server
speech_server.run_server(model_name="openai/whisper-base", host="127.0.0.1", port=0, dtype="int8", api_key="sk-run")
"""


def test_run_server_serves_the_model_under_every_name():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr
        url = next(found[1] for line in process.stderr if (found := re.search(r"running on (http://\S+)", line)))
        with httpx.Client(base_url=url, headers={"X-API-Key": "sk-run"}, timeout=60) as client:
            while client.get("/ping").status_code == 204:
                pass
            assert client.get("/api/ps").json()["models"] == [WHISPER]
            assert client.get("/v1/models/whisper-1").json()["id"] == WHISPER
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("dtype", ["float16", np.float16, np.dtype("float16")])
def test_a_precision_may_be_a_name_or_a_type(dtype: object):
    assert dtype_name(dtype) == "float16"
