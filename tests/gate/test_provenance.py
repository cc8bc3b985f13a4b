"""Where arguments come from: what counts as the user's own word, what does not, and what the gate makes of it."""

import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.gate.build import Gatehouse
from runtime.gate.call import Approval, ToolCall
from runtime.gate.errors import Suspended
from runtime.gate.provenance.directory import Directories
from runtime.gate.provenance.grounds import Grounds
from runtime.gate.provenance.origin import Origin, origins
from runtime.gate.provenance.tokens import Kind, tokens
from runtime.gate.provenance.words import words
from store.records.kinds import Kind as Event
from store.records.labels import Integrity, Labels
from tools.record import ToolRecord

Make = Callable[..., Gatehouse]
Call = Callable[..., ToolCall]

TAINTED = Labels("local", integrity=Integrity.UNTRUSTED)
RECORD = ToolRecord(name="drive.change", target="file_id")


class Book(dict[str, set[str]]):
    """A directory written down."""

    def resolve(self, name: str) -> frozenset[str]:
        return frozenset(self.get(name, ()))


NAMED = {"release 1.1": {"7"}, "minutes (old).txt": {"8"}, "plan then docx": {"9"}}
SITE = Directories(
    people=Book({"Ann": {"ann@corp.com"}, "Ben Hall": {"ben@corp.com"}, "Kim": {"kim@a.com", "kim@b.com"}}),
    objects={"drive": Book({"plan.docx": {"3"}, "notes.txt": {"4"}, "copy.txt": {"5", "6"}, **NAMED})},
)


def untrusted(text: str | Grounds, record: ToolRecord = RECORD, /, **arguments: Any) -> list[str]:
    """The arguments that are not trusted if a user typed this."""
    grounds = text if isinstance(text, Grounds) else Grounds((text,))
    return [each.argument for each in origins(record, arguments, grounds, SITE) if not each.trusted]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Pay 1,200.50 EUR now", 1200.5),
        ("Pay $30,000.", 30000),
        ("Pay 10.00 to Ann", 10),
        ("Pay 10 to Ann", "10.00"),
        ("Pay $10 to Ann", "$10.00"),
        ("Pay $10 to Ann", "10"),
        ("on May 15th, 2024 please", "2024-05-15"),
        ("on 15 May 2024", "2024-05-15"),
        ("on 15.5.2024", "2024-05-15"),
        ("on 05/15/2024", "2024-05-15"),
        ("at 10:30 on 2024-05-15.", "2024-05-15 10:30"),
        ("at 4:30pm on 2024-05-15", "2024-05-15T16:30:00"),
        ("Write to Bob.Smith@Corp.com!", "bob.smith@corp.com"),
        ("Write to Ann", "ann@corp.com"),
        ("Write to Ben Hall", "BEN@corp.com"),
        ("from gb29NWBK60161331926819", "GB29NWBK60161331926819"),
        ("from GB29 NWBK 6016 1331 9268 19 at once", "GB29NWBK60161331926819"),
        ("the title is 'Lunch with Ann', on", "Lunch with Ann"),
        ("with description Catch up over lunch.. Thanks", "Catch up over lunch."),
        ("see https://example.org/a?b=c.", "https://example.org/a?b=c"),
        ("the password 'x9-K!q', say", "x9-K!q"),
        ("Ｗｒｉｔｅ to Ann", "Write"),
        ("say 'The area is 10 m²'", "The area is 10 m²"),
        ("say 'Take 1½ cups…'", "Take 1½ cups…"),
        ("say １０ and ٣", "１０ and ٣"),
        ("Pay 10\N{NO-BREAK SPACE}000 EUR", "10 000 EUR"),
        ("off by 10 %, no more", "10 %"),
        ("release 1.10 of it", "release 1.10"),
        ("Pay $1.50 to Ann", "1.5"),
        ("say **Hello**, Ann", "Hello"),
        ("empty *tmp* and tmp*", "tmp*"),
        ("say no12AbCdEfGhIj", "no12AbCdEfGhIj"),
    ],
)
def test_what_the_user_typed_is_theirs_however_it_is_written(text: str, value: Any) -> None:
    assert untrusted(text, x=value) == []
    assert untrusted(text, x=[value, value]) == []
    assert untrusted(Grounds(), x=value) == ["x"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("In 2010 there were 101", 10),
        ("Pay ¥1000", "£1000"),
        ("Pay 1000 JPY", "$1000"),
        ("at 10:00, by 10%, on 2010-10-10", 10),
        ("It is -10", 10),
        ("Pay 1.200", 1200),
        ("Pay 1.200", 1.2),
        ("on 04/05/2024", "2024-05-04"),
        ("on May 15th", "2024-05-15"),
        ("10:30 today. And 2024-05-15 is free", "2024-05-15 10:30"),
        ("Write to bob@corp.com", "bob@corp.co"),
        ("Write to bob@corp.com.evil.org", "bob@corp.com"),
        ("Write to bob@corp.com", "b\N{CYRILLIC SMALL LETTER O}b@corp.com"),
        ("Write to bob@corp.com", "bob@corp.com\N{ZERO WIDTH SPACE}"),
        ("Write to bob@corp.com", "<bob@corp.com>"),
        ("Write to Kim", "kim@a.com"),
        ("Write to Anna", "ann@corp.com"),
        ("Write to Ben. Hall is out", "ben@corp.com"),
        ("'tips for Ann' is the title", "ann@corp.com"),
        ("the title is 'Lunch with Ann'", "Lunch"),
        ("pay the bill", "Pay the bill"),
        ("cancel, the meeting", "cancel the meeting"),
        ("rename report.docx", "report"),
        ("it is true", True),
        ("say nothing", ""),
        ("say nothing", []),
        ("say nothing", {}),
        ("a value", {"value": "a", "hidden": "a"}),
        ("one ... two", "one <!> two"),
        ("Pay 10²", "102"),
        ("Pay 10²", 102),
        ("Pay 10₂", 102),
        ("Pay 10²", 10),
        ("Pay ⑩", 10),
        ("Pay １０", 10),
        ("Pay ١٠", 10),
        ("on ١٥.٥.٢٠٢٤", "2024-05-15"),
        ("Take ½", "1⁄2"),
        ("Take 1½", "11⁄2"),
        ("Article Ⅻ", "Article XII"),
        ("Pay 1🄂000", 11000),
        ("Pay 1\N{GREEK OXIA}000", 1),
        ("Pay 10 000 EUR", 10),
        ("Pay 10\N{NO-BREAK SPACE}000 EUR", 10),
        ("Pay 1\N{THIN SPACE}000,50", 1),
        ("Pay $10 000 000.50", 0.5),
        ("Pay 10 % of it", 10),
        ("Pay 10 million", 10),
        ("Pay 1.5 Millions", 1.5),
        ("on $15 May 2024", "2024-05-15"),
        ("see https://example.org/a²", "https://example.org/a2"),
        ("Write to bob@faß.de", "bob@fass.de"),
        ("say no12AbCdEfGhIj", "NO12ABCDEFGHIJ"),
        ("release 1.10 of it", "release 1.1"),
        ("the image 2.0", "2"),
        ("empty tmp*", "tmp"),
        ("remove _old", "old"),
        ("remove *.log", ".log"),
    ],
)
def test_what_only_looks_like_it_is_not(text: str, value: Any) -> None:
    assert untrusted(text, x=value) == ["x"]


def test_no_character_is_taken_for_a_number_that_only_unicode_makes_of_it() -> None:
    every = map(chr, (*range(0x80, 0xD800), *range(0xE000, sys.maxunicode + 1)))
    forms = {each: unicodedata.normalize("NFKC", each) for each in every}
    odd = [each for each, form in forms.items() if each.isnumeric() or any(map(str.isdigit, form))]
    odd = [each for each in odd if unicodedata.normalize("NFC", each) == each]  # else it is that other character
    assert len(odd) > 1_000
    for each in odd:
        for text in (each, f"1{each}", f"{each}0", f"1{each}000"):
            assert {token.kind for token in tokens(text)} <= {Kind.WORD, Kind.UNCLEAR}, text
            assert words(f"pay {text} now").runs(text) == [(1, 2)]
            assert not words(f"pay {text} now").runs(unicodedata.normalize("NFKC", text)) or each == forms[each]


def test_what_is_read_of_a_long_text_ends_with_a_whole_word() -> None:
    text = "a " * 9_998 + "100000"
    assert untrusted(text, x="a a") == []
    assert untrusted(text, x=1000) == ["x"]
    assert untrusted("a" * 20_001, x="a" * 20_000) == ["x"]


@pytest.mark.parametrize("value", ["Hello" + " " * 20_000 + "the secrets", "ann@x.org" + " " * 20_000 + ", eve@y.org"])
def test_no_value_hides_behind_so_much_that_its_end_is_not_read(value: str) -> None:
    assert untrusted("Say Hello to ann@x.org", body=value) == ["body"]


@pytest.mark.parametrize("blanks", ["  ", " \t", "\n\n\n", "\u2028", "\t"])
def test_nothing_hides_in_blanks_that_the_user_did_not_type(blanks: str) -> None:
    for value in (f"Hello{blanks}Ann", f"Hello Ann{blanks}", f"{blanks}Hello Ann"):
        assert untrusted("Say Hello Ann to her", body=value) == ["body"]
        assert untrusted(f"Say {value} to her", body=value) == []
    for value in (f"ann@corp.com{blanks}", f"{blanks}ann@corp.com"):
        assert untrusted("Write to Ann", to=value) == ["to"]
        assert untrusted(f"Write to {value} today", to=value) == ["to"]
    assert untrusted("Say Hello Ann", body="Hello\nAnn") == untrusted("Say Hello\n\nAnn", body="Hello Ann") == []


def test_an_end_is_a_stated_duration_after_a_start_of_the_same_call() -> None:
    text = "Am I free at 12:00 on 2024-05-19? If so, plan one hour then, or 90 minutes on 2024-05-20 at 16:00."
    assert untrusted(text, start="2024-05-19 12:00", end="2024-05-19 13:00") == []
    assert untrusted(text, start="2024-05-20 16:00", end="2024-05-20 17:30") == []
    assert untrusted(text, start="2024-05-19 12:00", end="2024-05-20 17:30") == ["end"]
    assert untrusted(text, start="2024-05-19 12:00", end="2024-05-19 14:00") == ["end"]
    assert untrusted(text, end="2024-05-19 13:00") == ["end"]


def test_an_object_is_what_its_whole_name_stands_for_and_no_number_that_happens_to_be_there() -> None:
    assert untrusted("Add 'done' to plan.docx", file_id="3", content="done") == []
    assert untrusted("Add 'done' to the 3 plans", file_id="3", content="done") == ["file_id"]
    assert untrusted("Add 'done' to copy.txt", file_id="5", content="done") == ["file_id"]
    assert untrusted("Add 'done' to my-plan.docx", file_id="3", content="done") == ["file_id"]
    assert untrusted("Add 'done' to release 1.10", file_id="7", content="done") == ["file_id"]
    assert untrusted("Add 'done' to release 1.1", file_id="7", content="done") == []
    assert untrusted("Add 'done' to minutes (old).txt", file_id="8", content="done") == []
    assert untrusted("Add 'done' to plan, then docx", file_id="9", content="done") == ["file_id"]
    assert untrusted("Pay for the 3 of us", ToolRecord(name="bank.pay", target="id"), id=3) == []


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("Send 10 to a@x.com and 20 to b@x.com.", ("a@x.com", 10), ("a@x.com", 20)),
        ("Send 10 to a@x.com. Send 20 to b@x.com.", ("b@x.com", 20), ("b@x.com", 10)),
        ("Send Ann the 'agenda', Ben Hall the 'minutes'.", ("ben@corp.com", "minutes"), ("ann@corp.com", "minutes")),
        ("My rent to a@x.com is 2200. Also pay back the 10.", ("a@x.com", 2200), ("a@x.com", 10)),
        ("My rent to a@x.com is 2 200. Also pay back the 10.", ("a@x.com", "2 200"), ("a@x.com", 10)),
        ("My rent to a@x.com is ２２００. Also pay back the 10.", ("a@x.com", "２２００"), ("a@x.com", 10)),
        ("Tell Ann 'yes'; b@x.com 'no'.", ("b@x.com", "no"), ("ann@corp.com", "no")),
        (
            "Tell Ben Hall 'it is so'. Tell Kim 'it is not'.",
            ("ben@corp.com", "it is so"),
            ("ben@corp.com", "it is not"),
        ),
        (
            "Tell Ann 'go, and run', Ben Hall 'stay. Sit.'",
            ("ben@corp.com", "stay. Sit."),
            ("ben@corp.com", "go, and run"),
        ),
        ("Tell Ann 'yes', Ben Hall 'no'. She is ann@corp.com.", ("ann@corp.com", "yes"), ("ben@corp.com", "yes")),
        ("Tell Ann yes, then Ben Hall no", ("ann@corp.com", "yes"), ("ann@corp.com", "yes, then Ben Hall no")),
    ],
)
def test_what_the_user_said_to_one_is_not_said_to_another(text: str, right: Any, wrong: Any) -> None:
    assert untrusted(text, to=right[0], what=right[1]) == []
    assert untrusted(text, to=wrong[0], what=wrong[1]) == ["to", "what"]
    assert origins(RECORD, {"to": wrong[0], "what": wrong[1]}, Grounds((text,)), SITE)[0].sources == ("recombined",)


def test_all_whom_the_user_named_may_be_told_at_once() -> None:
    text = "Invite a@x.com, b@x.com to 'Lunch'. It is on 2024-05-19 at 12:00."
    assert untrusted(text, to=["a@x.com", "b@x.com"], title="Lunch", start="2024-05-19 12:00") == []
    assert untrusted(text, to=["a@x.com"], title="Lunch", start="2024-05-19 12:00") == ["start", "title", "to"]


def test_a_constant_is_trusted_with_all_that_is_in_it_and_as_what_it_is() -> None:
    grounds = Grounds(("hello",)).declaring({"to": ["ops@corp.com"], "limit": 10})
    assert untrusted(grounds, to="ops@corp.com", amount=10) == []
    assert untrusted(grounds, a="10", b=10.5, c="ops", d={"limit": 10}, e={"other": 10}) == ["a", "b", "c", "e"]
    assert origins(RECORD, {"to": "ops@corp.com"}, grounds, SITE) == (Origin("to", True, ("constant",)),)


def test_a_trusted_result_vouches_for_its_texts_unless_there_is_a_choice() -> None:
    one = Grounds(("hello",)).learning([{"name": "Zoe", "email": "zoe@corp.com", "age": 40}], "tool:contacts.find")
    assert untrusted(one, to="zoe@corp.com", text="hello") == []
    assert untrusted(one, to="zoe@corp.com", n=40, k="email") == ["k", "n"]
    several = Grounds(("hello",)).learning([{"email": "zoe@corp.com"}, {"email": "kim@a.com"}], "tool:contacts.find")
    assert untrusted(several, to="zoe@corp.com") == ["to"]


def test_one_whom_a_trusted_result_told_of_gets_nothing_that_was_for_others() -> None:
    grounds = Grounds(("Send Ann the 'agenda'",)).learning("zoe@corp.com", "tool:contacts.find")
    assert untrusted(grounds, to="ann@corp.com", what="agenda") == []
    assert untrusted(grounds, to="zoe@corp.com", what="agenda") == ["to", "what"]


def test_only_what_a_tool_calls_consequential_is_asked_for() -> None:
    named = ToolRecord(name="t.make", consequential=("name",), target="folder")
    assert untrusted("make a", named, name="a", content="anything") == []
    assert untrusted("make a", named, name="b", folder="b", content="a") == ["folder", "name"]
    assert untrusted("make a", named, name=None) == []


@given(st.text(max_size=60), st.text(max_size=20))
def test_a_value_in_words_is_made_of_their_tokens(text: str, value: str) -> None:
    found = words(text).runs(value)
    typed = [each.same for each in tokens(text)]
    for start, end in found:
        assert typed[start:end] == [each.same for each in tokens(value)]
    if not value.strip():
        assert not found


@given(st.lists(st.from_regex(r"[a-zA-Z0-9@.]{1,8}", fullmatch=True), min_size=1, max_size=6), st.data())
def test_whole_tokens_are_found_and_parts_of_them_are_not(typed: list[str], data: st.DataObject) -> None:
    text = " ".join(typed)
    word = data.draw(st.sampled_from([each for each in typed if any(map(str.isalnum, each))] or ["x"]))
    part = word.strip(".,")[:-1]
    if word in typed and tokens(word)[0].kind is Kind.WORD and not tokens(word)[0].ends:
        assert words(text).runs(word)
    if part and all(each.same not in [t.same for t in tokens(text)] for each in tokens(part)):
        assert not words(text).runs(part)


@given(
    st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5), lambda inner: st.lists(inner))
)
def test_nothing_is_trusted_without_grounds(value: Any) -> None:
    assert all(not each.trusted for each in origins(RECORD, {"x": value}, Grounds(), SITE))


_PAYMENTS = st.lists(
    st.tuples(st.sampled_from([f"{each}@x.com" for each in "abcdef"]), st.integers(2, 99)),
    min_size=2,
    max_size=5,
    unique_by=(lambda each: each[0], lambda each: each[1]),
)


@given(_PAYMENTS, st.sampled_from([" and ", ", ", "; then ", ". Also, "]), st.data())
def test_no_amount_goes_to_another_than_the_user_said(payments: Any, between: str, data: st.DataObject) -> None:
    text = "Send " + between.join(f"{amount} to {to}" for to, amount in payments)
    (to, amount), (other, _) = data.draw(st.permutations(payments))[:2]
    assert untrusted(text, to=to, amount=amount) == []
    assert untrusted(text, to=other, amount=amount) == ["amount", "to"]


async def test_strict_lets_a_write_after_an_untrusted_read_through_if_the_user_typed_all_of_it(
    gatehouse: Make, call: Call, world: Any, recorded: Any
) -> None:
    house = gatehouse("strict")
    said = Grounds(("Look into the logs, then restart orders.",))
    await house.call(call("ops.restart_service", labels=TAINTED, grounds=said))
    assert world.effects == [("restart_service", "r1/1")]
    ((event, payload),) = recorded(Event.DECISION)
    assert event.decision == "allow"
    assert payload["origins"] == [{"argument": "service", "trusted": True, "sources": ["user"]}]
    with pytest.raises(Suspended) as caught:
        await house.call(call("ops.restart_service", {"service": "gateway"}, "2", labels=TAINTED, grounds=said))
    assert caught.value.policies == ("approval:untrusted",)
    assert recorded(Event.DECISION)[-1][1]["origins"][0]["trusted"] is False


async def test_a_call_without_arguments_is_vouched_for_by_nothing(gatehouse: Make, call: Call) -> None:
    with pytest.raises(Suspended):
        await gatehouse("strict").call(call("ops.refusing", {}, labels=TAINTED, grounds=Grounds(("refusing",))))


async def test_no_call_says_itself_where_its_arguments_come_from(gatehouse: Make, call: Call) -> None:
    claimed = (Origin("service", True, ("user",)),)
    with pytest.raises(Suspended):
        await gatehouse("strict").call(call("ops.restart_service", labels=TAINTED, origins=claimed))


async def test_what_the_user_typed_may_leave_but_for_good_only_with_a_person(gatehouse: Make, call: Call) -> None:
    house = gatehouse("strict", directories=SITE)
    said = Grounds(("Search for 'printer ink'. Tell Ann 'hello'.",))
    await house.call(call("ops.web_search", {"query": "printer ink"}, grounds=said))
    wanted = call("ops.send_mail", {"to": "ann@corp.com", "body": "hello"}, "2", labels=TAINTED, grounds=said)
    with pytest.raises(Suspended) as caught:
        await house.call(wanted)
    assert caught.value.policies == ("approval:irreversible",)
    await house.call(replace(wanted, approvals=(Approval(caught.value.binding, "bob"),)))


async def test_policies_can_speak_of_single_arguments(gatehouse: Make, call: Call, policies: Any) -> None:
    text = """@id("all") permit (principal, action, resource);
        @id("f") forbid (principal, action, resource) when { context.untrusted_arguments.contains("body") };"""
    house = gatehouse(policies(text))
    said = Grounds(("tell a@x.com 'hi'",))
    await house.call(call("ops.send_mail", {"to": "b@x.com", "body": "hi"}, "1", grounds=said))
    with pytest.raises(Exception, match="forbidden by f"):
        await house.call(call("ops.send_mail", {"to": "a@x.com", "body": "ha"}, "2", grounds=said))


async def test_nothing_vouches_for_what_cannot_be_written_down(gatehouse: Make, call: Call) -> None:
    labelled = gatehouse().labelled
    asked = replace(call("ops.restart_service"), grounds=Grounds(("restart orders",)))
    assert labelled.vouches(replace(asked, arguments={"service": "orders"}))
    for value in ("\ud800", float("nan"), 2**70):
        assert not labelled.vouches(replace(asked, arguments={"service": value}))
