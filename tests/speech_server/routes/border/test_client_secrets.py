"""Browsers' keys: what they carry, who can read them, and when they open nothing any more."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from speech_server.errors import Busy, InvalidRequest, SecretRefused
from speech_server.routes.border import client_secrets
from speech_server.routes.border.client_secrets import LONGEST, ClientSecrets

SESSION = {"instructions": "Be brief.", "audio": {"output": {"voice": "onyx"}}}


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own(clock: Clock) -> ClientSecrets:
    return ClientSecrets("the key", clock)


def code_of(reader: ClientSecrets, value: str) -> str | None:
    with pytest.raises(SecretRefused) as refused:
        reader.read(value)
    assert refused.value.status == 401
    return refused.value.code


def test_it_carries_the_session_it_is_for(own: ClientSecrets):
    value, expires_at = own.issue(SESSION, 600, single_use=False)
    secret = own.read(value)
    assert (secret.session, secret.expires_at, expires_at) == (SESSION, 1_000_600, 1_000_600)
    assert value.startswith("ek_")
    assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."), "a subprotocol's"


def test_workers_with_one_key_read_each_other_s_and_workers_without_one_do_not(own: ClientSecrets, clock: Clock):
    value, _ = own.issue(SESSION, 600, single_use=False)
    assert ClientSecrets("the key", clock).read(value).session == SESSION
    assert code_of(ClientSecrets("another key", clock), value) == "invalid_client_secret"
    alone = ClientSecrets(None, clock)
    assert alone.read(alone.issue(SESSION, 600, single_use=False)[0]).session == SESSION
    assert code_of(ClientSecrets(None, clock), alone.issue(SESSION, 600, single_use=False)[0])


def test_it_opens_until_its_second_and_no_longer(own: ClientSecrets, clock: Clock):
    value, _ = own.issue(SESSION, 10, single_use=False)
    clock.now += 9.9
    assert own.read(value)
    clock.now += 0.1
    assert code_of(own, value) == "client_secret_expired"


def test_one_for_one_use_is_spent_by_it_and_others_are_not(own: ClientSecrets):
    once, _ = own.issue(SESSION, 600, single_use=True)
    often, _ = own.issue(SESSION, 600, single_use=False)
    for value in (once, often):
        own.spend(own.read(value))
    assert code_of(own, once) == "client_secret_used"
    assert own.read(often)


def test_what_is_remembered_is_bounded_and_forgotten_in_time(
    own: ClientSecrets, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(client_secrets, "MOST_USED", 2)
    for _ in range(2):
        own.spend(own.read(own.issue({}, 600, single_use=True)[0]))
    one_more, _ = own.issue({}, 7200, single_use=True)
    with pytest.raises(Busy):
        own.spend(own.read(one_more))
    clock.now += 600
    own.spend(own.read(one_more))
    assert code_of(own, one_more) == "client_secret_used"


def test_settings_that_fit_into_no_header_are_refused(own: ClientSecrets):
    with pytest.raises(InvalidRequest, match=r"session\.update"):
        own.issue({"instructions": secrets.token_hex(LONGEST)}, 600, single_use=False)
    assert len(own.issue({"instructions": "Be brief. " * 10_000}, 600, single_use=False)[0]) < LONGEST


OURS = ClientSecrets("the key")
VALUE = OURS.issue(SESSION, 600, single_use=True)[0]
LASTS = (VALUE.index(".") - 1, len(VALUE) - 1)  # base64's last character of either part has bits to spare


@given(
    st.sampled_from([at for at in range(len("ek_"), len(VALUE)) if at not in LASTS]),
    st.sampled_from("abcXYZ019-_.=%é "),
)
def test_no_changed_character_goes_unseen(at: int, other: str):
    assume(other != VALUE[at])
    assert code_of(OURS, VALUE[:at] + other + VALUE[at + 1 :]) == "invalid_client_secret"


@pytest.mark.parametrize("value", ["ek_", "ek_.", "ek_é.é", "ek_abc", "ek_a.b.c", "", "sk-123"])
def test_what_is_no_secret_at_all_is_refused(own: ClientSecrets, value: str):
    assert code_of(own, value) == "invalid_client_secret"
