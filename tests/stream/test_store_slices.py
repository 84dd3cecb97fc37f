"""The contract of the slices of traffic that windows are compared with: kept at the home of a model, and written with its closes."""

from stream.store import HomeState
from tests.stream.stores import P0, P1, Backend, closing, message, pane

SLICES = {pane(0): b"0", pane(0, "v2", "a=b|c"): b"\x00" * 9, pane(10): b"1"}


def test_slices_are_found_again_as_they_were_last_written(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    first = closing(P0, epoch, 1, slices=SLICES, outbox=[(1, message("x"))])
    second = closing(
        P0, epoch, 2, slices={pane(10): b"1 and more", pane(20): b"2"}, passed=[pane(0), pane(30)], merged={pane(20): b"a pane"}
    )
    assert store.close([first, second]) == []
    home = backend.client().home(P0, "m")
    assert home.slices == {pane(0, "v2", "a=b|c"): b"\x00" * 9, pane(10): b"1 and more", pane(20): b"2"}
    assert home.merged == {pane(20): b"a pane"}
    assert store.acquire(P0, []).outbox == [(1, message("x"))]
    assert store.home(P0, "n") == store.home(P1, "m") == HomeState()


def test_slices_that_have_all_passed_leave_nothing(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.close([closing(P0, epoch, 1, slices=SLICES)])
    store.close([closing(P0, epoch, 2, passed=list(SLICES))])
    assert store.home(P0, "m").slices == {}


def test_a_former_owner_changes_no_slice(backend: Backend) -> None:
    a, b = backend.client(), backend.client()
    old = a.acquire(P0, []).epoch
    a.close([closing(P0, old, 1, slices=SLICES)])
    b.acquire(P0, [])
    before = backend.dump()
    assert a.close([closing(P0, old, 2, slices={pane(0): b"more"}, passed=[pane(10)])]) == [P0]
    assert backend.dump() == before


def test_slices_grow_once_when_the_answer_to_a_close_was_lost(backend: Backend) -> None:
    store = backend.client()
    epoch = store.acquire(P0, []).epoch
    store.close([closing(P0, epoch, 1, slices=SLICES)])
    step = closing(P0, epoch, 2, slices={pane(10): b"1 and more"}, passed=[pane(0)])
    assert store.close([step]) == []
    before = backend.dump()
    assert store.close([step]) == []
    assert backend.dump() == before
