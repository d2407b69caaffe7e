"""What streams are told, and the words for why they end."""

import re

import pytest

from tailrace.events import StreamClosing
from tailrace.metrics import ENDS
from tailrace.signals import Signal

GOES_ON = {Signal.DATA, Signal.IDLE}
UNHEARD = {Signal.GONE}  # the other side left: nobody is there to be told, it is only counted


def documented(text: str | None) -> set[str]:
    return set(re.findall(r"`(\w+)`", text or ""))


def test_the_wire_documents_every_reason_and_no_other() -> None:
    told = {signal.reason for signal in set(Signal) - GOES_ON - UNHEARD}
    assert told == documented(StreamClosing.model_fields["reason"].description)


def test_the_metric_documents_what_the_wire_does_not() -> None:
    assert {signal.reason for signal in UNHEARD} <= documented(ENDS.help)
    assert "others as in stream.closing" in ENDS.help


def test_no_two_signals_end_a_stream_in_one_word() -> None:
    ending = set(Signal) - GOES_ON
    assert len({signal.reason for signal in ending}) == len(ending)


@pytest.mark.parametrize("signal", sorted(GOES_ON))
def test_what_ends_nothing_has_no_reason(signal: Signal) -> None:
    with pytest.raises(KeyError):
        _ = signal.reason
