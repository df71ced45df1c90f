"""Each engine of a suite is made once for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.speech_server.engines.contracts.subjects import Subject


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "subject" in metafunc.fixturenames:
        cases = metafunc.module.QUEUED if "queued" in metafunc.fixturenames else metafunc.module.CASES
        metafunc.parametrize("subject", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    subject: Subject = request.module.CASES[request.param](tmp_path_factory.mktemp(request.param))
    yield subject
    if "engine" in vars(subject):
        subject.engine.close()


@pytest.fixture
def queued(subject: Subject) -> Subject:
    """One that has a queue."""
    return subject
