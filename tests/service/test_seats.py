"""Seats of OpenRLHF's nameless samples: siblings, retries and later epochs are told apart."""

import random

from hypothesis import given
from hypothesis import strategies as st

from rrm_reward.service._seats import AWAY, Seats


def test_siblings_with_the_same_text_get_seats_of_their_own():
    seats = Seats(3)
    taken = [seats.take("p", "same", 0.0) for _ in range(3)]
    assert [slot for _, slot in taken] == [0, 1, 2]
    assert len({table.name for table, _ in taken}) == 1


def test_a_retry_takes_the_seat_whose_connection_broke():
    seats = Seats(2)
    table, slot = seats.take("p", "a", 0.0)
    seats.leave(table, slot, 180.0)
    assert seats.take("p", "a", 181.0) == (table, slot)
    assert seats.take("p", "b", 182.0) == (table, 1)


def test_a_retry_after_the_group_was_judged_takes_its_old_seat():
    seats = Seats(2)
    (table, first), (_, second) = seats.take("p", "a", 0.0), seats.take("p", "b", 0.0)
    seats.leave(table, first, 5.0)
    seats.serve(table, second)
    assert seats.take("p", "a", 6.0) == (table, first)
    seats.serve(table, first)
    assert len(seats) == 0


def test_a_later_epoch_gets_a_table_of_its_own():
    seats = Seats(2)
    table, _ = seats.take("p", "a", 0.0)
    seats.take("p", "b", 0.0)
    for slot in (0, 1):
        seats.serve(table, slot)
    again, slot = seats.take("p", "a", 10.0)
    assert again.name != table.name
    assert slot == 0


def test_a_run_that_died_does_not_seat_the_next_runs_samples():
    seats = Seats(3)
    table, slot = seats.take("p", "a", 0.0)
    seats.take("p", "b", 0.0)
    for slot in (0, 1):
        seats.leave(table, slot, 10.0)
    again, slot = seats.take("p", "c", 11.0 + AWAY)
    assert again.name != table.name
    assert seats.sweep(11.0 + AWAY) == [table]
    assert seats.take("p", "a", 12.0 + AWAY) == (again, 1)


def test_one_client_that_gave_up_does_not_break_up_its_siblings():
    seats = Seats(3)
    table, slot = seats.take("p", "a", 0.0)
    seats.take("p", "b", 0.0)
    seats.leave(table, slot, 10.0)
    assert seats.take("p", "c", 20.0 + AWAY) == (table, 2)


def test_two_rows_with_the_same_prompt_fill_two_tables():
    seats = Seats(2)
    names = [seats.take("p", f"{k}", 0.0)[0].name for k in range(4)]
    assert names[0] == names[1] != names[2] == names[3]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_every_sample_has_one_seat_however_often_its_connection_breaks(size, rows, seed):
    """All rows have the same prompt and few texts differ, which is as confusing as it can be."""
    rng = random.Random(seed)
    seats, now = Seats(size), 0.0
    texts = [rng.choice("ab") for _ in range(size * rows)]
    connected = {}
    waiting = list(range(len(texts)))
    while waiting:
        now += 0.01
        who = waiting.pop(rng.randrange(len(waiting)))
        seat = seats.take("p", texts[who], now)
        assert seat not in connected.values(), "two connections for one seat"
        connected[who] = seat
        for other in rng.sample(list(connected), k=min(len(connected), rng.choice((0, 0, 1)))):
            seats.leave(*connected.pop(other), now)
            waiting.append(other)
    taken = {(table.name, slot) for table, slot in connected.values()}
    assert len(taken) == size * rows
    assert {slot for _, slot in taken} == set(range(size))
    assert len(seats) == rows
    for who, (table, slot) in connected.items():
        assert table.seats[slot].text == hash(texts[who])
