from __future__ import annotations

import pytest

from speech_server.engines.asked import check_heard, check_spoken, split_speed
from speech_server.errors import InvalidRequest


@pytest.mark.parametrize("own", [(0.5, 2.0), (1.0, 1.0)])
@pytest.mark.parametrize("speed", [0.25, 0.5, 0.9, 1.0, 2.0, 4.0])
def test_what_a_model_does_not_do_by_itself_is_stretching(speed: float, own: tuple[float, float]):
    spoken, tempo = split_speed(speed, own)
    assert spoken * tempo == speed
    assert own[0] <= spoken <= own[1]
    assert 1.0 in (spoken, tempo)


@pytest.mark.parametrize("speed", [0.24, 4.01, float("nan"), float("inf"), -1.0, 0.0])
def test_a_speed_outside_the_range_is_refused(speed: float):
    with pytest.raises(InvalidRequest, match=r"0\.25 to 4"):
        split_speed(speed, (0.5, 2.0))


@pytest.mark.parametrize("language", [None, "en", "EN-us", "en_GB", " en "])
def test_a_voice_reads_its_language_of_any_country(language: str | None):
    check_spoken(language, "en-us")


def test_other_languages_are_refused_by_their_name():
    with pytest.raises(InvalidRequest, match="'de' is not this voice's: it speaks en"):
        check_spoken("de", "en-us")
    with pytest.raises(InvalidRequest, match="does not know the language 'ja': use one of de, en"):
        check_heard("ja", {"en", "de"})
    check_heard(None, {"en"})
    check_heard("de", {"en", "de"})
