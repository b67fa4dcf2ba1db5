"""The counting: never over a limit, nothing kept of whoever has nothing under way."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from proxy.limits import SPARE_CONNECTIONS, Place, Places, Tally

NAMES = st.sampled_from(["alice", "bob", "carol"])


@given(st.integers(0, 3), st.lists(st.tuples(st.booleans(), NAMES)))
def test_a_tally_counts_each_apart_up_to_its_limit_and_forgets_who_has_none(
    limit: int, steps: list[tuple[bool, str]]
) -> None:
    tally, expected = Tally(limit), Counter[str]()
    for enters, name in steps:
        if enters:
            allowed = not limit or expected[name] < limit
            assert tally.may_enter(name) is allowed
            assert tally.enter(name) is allowed
            expected[name] += allowed
        elif expected[name]:
            tally.leave(name)
            expected[name] -= 1
        assert tally.active == len(+expected)
        assert tally.highest == max(expected.values(), default=0)


def test_connections_are_limited_in_total() -> None:
    places = Places(2, 0)
    taken = [places.take("10.0.0.1"), places.take("10.0.0.1")]
    assert taken == [Place("10.0.0.1"), Place("10.0.0.1")]
    assert places.take("10.0.0.2") == Place("10.0.0.2", "total")
    assert places.taken == 2
    places.give_back(Place("10.0.0.1"))
    assert places.take("10.0.0.2") == Place("10.0.0.2")


def test_connections_are_limited_for_each_address() -> None:
    places = Places(10, 1)
    first = places.take("10.0.0.1")
    assert first == Place("10.0.0.1")
    assert places.take("10.0.0.1") == Place("10.0.0.1", "address")
    assert places.take("10.0.0.2") == Place("10.0.0.2")
    places.give_back(first)
    assert places.take("10.0.0.1") == Place("10.0.0.1")


def test_who_has_no_address_is_not_limited_by_it() -> None:
    places = Places(10, 1)
    assert [places.take("") for _ in range(3)] == [Place("")] * 3


def test_the_places_from_which_to_say_so_are_few_and_are_no_others() -> None:
    places = Places(1, 0)
    places.take("a")
    spare = [places.take("a") for _ in range(SPARE_CONNECTIONS + 1)]
    assert spare == [Place("a", "total")] * SPARE_CONNECTIONS + [None]
    places.give_back(Place("a", "total"))
    assert places.taken == 1
    assert places.take("a") == Place("a", "total")
