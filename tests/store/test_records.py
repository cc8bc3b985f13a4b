"""The plain data that all rooms share."""

import json
from typing import Any, get_args

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from store.records.canonical import canonical, canonical_names, digest, parse, sha256
from store.records.errors import BailiwickError, Denied, InDoubt, Waiting
from store.records.event import GENESIS, Event
from store.records.identity import User
from store.records.kinds import Ended, Kind
from store.records.labels import Classification, Integrity, Labels, trusted

LABELS = st.builds(
    Labels,
    st.just("acme"),
    st.sampled_from(Classification),
    st.sampled_from(Integrity),
    st.lists(st.sampled_from(["user", "tool:a", "tool:b"]), unique=True).map(lambda names: tuple(sorted(names))),
)


def event(**more: object) -> Event:
    given_fields: dict[str, object] = {
        "kind": Kind.NOTE,
        "tenant": "acme",
        "actor": "core",
        "actor_version": "1",
        "seq": 1,
        "time": "2026-11-22T08:00:00.000000Z",
        "mono_ns": 0,
        "epoch": 1,
        "payload": "",
        "prev": GENESIS,
    }
    return Event(**{**given_fields, **more})  # type: ignore[arg-type]  # fields by name


def test_canonical_bytes_are_those_of_rfc_8785() -> None:
    assert canonical({"b": 1.0, "a": ["é", "\n", 1e21]}) == '{"a":["é","\\n",1e+21],"b":1}'.encode()
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) == sha256(b'{"a":1,"b":2}')


@given(
    st.dictionaries(
        st.text(st.characters(max_codepoint=127)),
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text() | st.lists(st.text()),
    )
)
def test_what_events_are_made_of_is_written_the_same_and_faster(value: dict[str, object]) -> None:
    assert canonical_names(value) == canonical(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e30, 1e30) | st.text(),
        lambda inside: st.lists(inside) | st.tuples(inside) | st.dictionaries(st.text(), inside),
    )
)
def test_every_value_is_written_as_the_reference_writes_it(value: object) -> None:
    assert canonical(value) == rfc8785.dumps(value)  # type: ignore[arg-type]  # JSON of any shape


@pytest.mark.parametrize("value", [{"\U0001f600": 1, "\ufb01": 2}, {"a": Kind.NOTE, "b": Classification.PUBLIC}, [1.0]])
def test_what_the_standard_encoder_writes_otherwise_is_written_as_the_reference_writes_it(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value) != json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 2**53, {1: "a"}, {"a": object()}, "\ud800", {"a": -(2**53)}]
)
def test_what_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical(value)


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        parse(b"not json")


@given(LABELS)
def test_events_come_back_from_their_bytes(labels: Labels) -> None:
    original = event(labels=labels, tokens=7, step="1.2")
    assert Event.parse(original.canonical()) == original
    assert original.hash == sha256(original.canonical())


def test_an_event_without_labels_comes_back() -> None:
    assert Event.parse(event().canonical()) == event()


@pytest.mark.parametrize("data", [b"{}", b"[]", b"nonsense", b'{"labels":null,"unknown":1}'])
def test_bytes_that_are_no_event_are_refused(data: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError)):
        Event.parse(data)


@given(LABELS, LABELS, LABELS)
def test_the_join_of_labels_is_a_join(a: Labels, b: Labels, c: Labels) -> None:
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c)) == a.join(b, c)
    assert a.join(a) == a
    joined = a.join(b)
    assert joined.classification >= a.classification
    assert joined.integrity <= a.integrity
    assert set(joined.sources) >= set(a.sources)


def test_labels_of_two_tenants_do_not_join() -> None:
    with pytest.raises(Denied):
        trusted("acme", "user").join(trusted("other", "user"))


def test_what_has_no_label_is_untrusted_and_of_the_top_classification() -> None:
    assert Labels("acme") == Labels("acme", Classification.RESTRICTED, Integrity.UNTRUSTED, ())


def test_labels_and_users_come_back_from_json() -> None:
    labels = Labels("acme", Classification.CONFIDENTIAL, Integrity.UNTRUSTED, ("tool:a",))
    assert Labels.parse(labels.json()) == labels
    user = User("alice", 1000, "acme", "ops", ("requester", "approver"))
    assert User.parse(user.json()) == user
    with pytest.raises(KeyError):
        Labels.parse({**labels.json(), "classification": "secret-ish"})


def test_an_error_is_one_line_with_what_where_and_what_to_do() -> None:
    assert str(BailiwickError("it broke", "here", "mend it")) == "it broke (here); mend it"
    assert str(BailiwickError("it broke")) == "it broke"
    assert InDoubt.exit_code == Waiting.exit_code == 8


def test_kinds_are_stored_by_value() -> None:
    assert Kind("run.ended") is Kind.RUN_ENDED
    assert event(kind=Kind.NOTE).json()["kind"] == "note"
    assert set(get_args(Ended)) == {"completed", "completed-by-fallback", "denied", "failed", "cancelled"}
