"""An outage is told once for each cause, now and then where that is wanted, and at its end."""

from __future__ import annotations

from proxy.outage import Outage


def test_a_failure_is_news_once_for_each_cause() -> None:
    outage = Outage()
    assert [outage.fails(cause) for cause in ("a", "a", "b", "b", "a")] == [
        *(True, False, True, False, True)
    ]


def test_its_end_is_news_and_that_nothing_ever_failed_is_none() -> None:
    outage = Outage()
    assert not outage.ends()
    outage.fails("a")
    assert (outage.ends(), outage.ends()) == (True, False)
    assert outage.fails("a")  # another outage, though for the same cause


def test_it_is_true_while_it_lasts_and_knows_the_last_cause() -> None:
    outage = Outage()
    assert not outage
    outage.fails("a")
    outage.fails("b")
    assert outage
    assert outage.cause == "b"
    outage.ends()
    assert not outage
    assert outage.cause == ""


def test_one_that_lasts_is_news_again_after_a_while() -> None:
    outage = Outage(remind_every=10.0)
    assert [outage.fails("a", now) for now in (100.0, 109.9, 110.0, 119.9)] == [
        *(True, False, True, False)
    ]


def test_another_cause_is_news_at_once_and_the_while_begins_anew() -> None:
    outage = Outage(remind_every=10.0)
    assert [outage.fails(c, now) for c, now in (("a", 100.0), ("b", 105.0), ("b", 112.0))] == [
        *(True, True, False)
    ]


def test_without_a_while_it_is_not_repeated_however_long_it_lasts() -> None:
    outage = Outage()
    assert (outage.fails("a", 0.0), outage.fails("a", 1e9)) == (True, False)
