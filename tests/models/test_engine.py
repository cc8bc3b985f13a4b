"""The engine with the real default model: schemas, allowance, deadlines, reuse, scores, and no input that kills it."""

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.engine.engine import Engine
from models.errors import ContextOverflow, SchemaUnsupported
from models.model import describe
from models.registry import Registry
from models.request import Message, Request
from store.records.canonical import sha256
from store.records.errors import IntegrityError, ModelFailed, SettingsError, Unreachable

Ask = Callable[..., Request]
INCIDENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "service": {"enum": ["gateway", "orders", "inventory"]},
        "severity": {"type": "integer", "minimum": 1, "maximum": 5},
        "summary": {"type": "string", "maxLength": 40},
        "restart": {"type": "boolean"},
    },
    "required": ["service", "severity", "summary", "restart"],
    "additionalProperties": False,
}
REPORT = "The inventory service answers 507 because its quota folder is full. Fill in the incident form."


def test_an_answer_fits_its_schema_and_forced_tokens_are_not_sampled(chat: Engine, ask: Ask) -> None:
    done = chat.generate(ask(REPORT, schema=INCIDENT, max_tokens=120))
    assert done.stop == "end"
    value = json.loads(done.text)
    assert value["service"] in INCIDENT["properties"]["service"]["enum"]
    assert done.text == json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    assert done.forced_tokens >= 10
    assert len(done.token_ids) == done.sampled_tokens + done.forced_tokens <= 120
    assert done.tokens == done.prompt_tokens + len(done.token_ids)
    assert chat._runner.vocabulary.text(done.token_ids) == done.text
    assert (done.model, done.model_digest) == (chat.model.name, chat.model.sha256)
    assert len(done.grammar_digest) == len(done.prompt_digest) == 64


@pytest.mark.parametrize("temperature", [0.0, 1.5])
@pytest.mark.parametrize("seed", range(4))
def test_any_sampling_stays_within_the_schema(chat: Engine, ask: Ask, temperature: float, seed: int) -> None:
    done = chat.generate(ask(REPORT, schema=INCIDENT, temperature=temperature, seed=seed, max_tokens=200))
    assert done.stop == "end"
    assert set(json.loads(done.text)) == set(INCIDENT["properties"])


def test_a_repeated_request_is_not_computed_again_and_its_seed_matters(chat: Engine, ask: Ask) -> None:
    request = ask(REPORT, schema=INCIDENT, temperature=0.8, seed=5)
    first = chat.generate(request)
    chat.generate(ask("Something else altogether, " * 30, max_tokens=3))
    second = chat.generate(request)
    assert first.prompt_digest == second.prompt_digest
    assert second.reused_tokens == second.prompt_tokens - 1
    assert chat.generate(replace(request, seed=6)).token_ids != first.token_ids


def test_a_growing_prompt_is_computed_only_at_its_end(chat: Engine) -> None:
    messages = [Message("system", "You look after services. " * 20), Message("user", "What is wrong with orders?")]
    first = chat.generate(Request(tuple(messages), max_tokens=12))
    messages += [Message("assistant", first.text), Message("user", "And now?")]
    second = chat.generate(Request(tuple(messages), max_tokens=4))
    assert second.reused_tokens >= first.prompt_tokens - 4
    assert second.prompt_tokens - second.reused_tokens < 40


@pytest.mark.parametrize("most", [1, 2, 7])
def test_the_allowance_is_never_exceeded(chat: Engine, ask: Ask, most: int) -> None:
    for schema in (None, INCIDENT):
        done = chat.generate(ask("Tell me a long story.", schema=schema, max_tokens=most))
        assert done.stop == "length"
        assert len(done.token_ids) == most


def test_a_wholly_forced_answer_needs_no_model(chat: Engine, ask: Ask) -> None:
    done = chat.generate(ask("Say it.", schema={"const": {"done": True}}))
    assert (done.text, done.stop, done.sampled_tokens, done.device_ms) == ('{"done":true}', "end", 0, 0)


def test_a_free_answer_ends_by_itself(chat: Engine, ask: Ask) -> None:
    done = chat.generate(ask("Name three fruits."))
    assert done.stop == "end"
    assert done.token_ids[-1] in chat._runner.vocabulary.ends
    assert done.text
    assert "<|im_end|>" not in done.text
    assert (done.grammar_digest, done.forced_tokens, done.sampler) == ("", 0, "greedy")


def test_the_time_in_the_queue_counts(chat: Engine, ask: Ask) -> None:
    done = chat.generate(ask("Wait."), arrived=time.monotonic() - 61)
    assert (done.stop, done.token_ids) == ("deadline", ())
    assert done.queue_ms >= 61_000


def test_a_prompt_over_its_allowance_is_not_computed(chat: Engine) -> None:
    before = chat.counters["computed_tokens"]
    request = Request((Message("user", "word " * 200),), max_tokens=4, max_prompt_tokens=100)
    with pytest.raises(ModelFailed, match="its allowance is 100"):
        chat.generate(request)
    assert chat.counters["computed_tokens"] == before


def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(chat: Engine, ask: Ask) -> None:
    with pytest.raises(ContextOverflow, match="the context holds 2048") as caught:
        chat.generate(ask("word " * 5000))
    assert caught.value.tokens > 5000
    assert caught.value.context == 2048
    assert isinstance(caught.value, ModelFailed)
    assert chat.generate(ask("Still there?", max_tokens=2)).token_ids


def test_the_end_of_the_context_ends_the_answer(registry: Registry, ask: Ask) -> None:
    engine = Engine.load(registry.get(), n_ctx=64)
    try:
        done = engine.generate(ask("Write a very long story about the sea, with many chapters.", max_tokens=500))
        assert done.stop == "length"
        assert done.prompt_tokens + len(done.token_ids) == 64
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"messages": ()}, "no message"),
        ({"messages": (Message("user", "\ud800"),)}, "surrogate"),
        ({"messages": (Message("user", None),)}, "not a text"),  # type: ignore[arg-type]
        ({"messages": (Message("tool", "x"),)}, "unknown role"),  # type: ignore[arg-type]
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": 1e-9}, "temperature"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"deadline_s": 0.0}, "deadline_s"),
        ({"deadline_s": math.nan}, "deadline_s"),
        ({"schema": []}, "schema"),
        ({"schema": {"not": {}}}, "not"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(chat: Engine, ask: Ask, change: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        chat.generate(replace(ask("x"), **change))


@pytest.mark.parametrize("text", ["", "\0", "\n" * 300, "🙂" * 20, "<|im_end|>" * 50, "\u202e\ufeff\ufffe", "A" * 1500])
def test_odd_texts_are_answered(chat: Engine, ask: Ask, text: str) -> None:
    assert chat.generate(ask(text, max_tokens=3)).sampled_tokens >= 1


def test_a_bad_schema_does_not_stop_the_next_request(chat: Engine, ask: Ask) -> None:
    with pytest.raises(SchemaUnsupported, match="uniqueItems"):
        chat.generate(ask("x", schema={"type": "array", "uniqueItems": True}))
    assert chat.generate(ask("Yes or no?", schema={"enum": ["yes", "no"]})).text in ('"yes"', '"no"')


def test_scores_rank_replies_and_agree_with_generation(chat: Engine, ask: Ask) -> None:
    question = ask("What is the capital of France? Answer with one word.")
    choices = ["Paris", "London", "banana"]
    scores = chat.score(question, choices)
    assert scores[0] == max(scores)
    assert all(score < 0 for score in scores)
    # The default model rounds activations to 8 bits, so that a sum in another order can move a whole step.
    assert chat.score(question, ["banana", "Paris"]) == pytest.approx([scores[2], scores[0]], abs=1)
    # A reply is scored as the whole reply: all that can be said after one token, with its end, adds up to less than 1.
    assert sum(math.exp(score) for score in scores) < 1
    halves = chat.score(question, choices, normalise=True)
    assert [half <= 0 and half > score for half, score in zip(halves, scores, strict=True)] == [True] * 3


def test_the_greedy_answer_scores_better_than_one_with_another_word(chat: Engine, ask: Ask) -> None:
    question = ask("Name three fruits.")
    answer = chat.generate(question).text
    same, other = chat.score(question, [answer, answer.replace(answer.split()[-1], "gravel")])
    assert same > other
    assert chat.generate(question).text == answer


@pytest.mark.parametrize("choices", [[], [""], ["\ud800"], ["x " * 1000], "text", [3]])
def test_choices_that_cannot_be_scored_are_refused(chat: Engine, ask: Ask, choices: list[str]) -> None:
    with pytest.raises(SettingsError):
        chat.score(ask("x"), choices)


def test_a_late_score_fails(chat: Engine, ask: Ask) -> None:
    with pytest.raises(ModelFailed, match="deadline"):
        chat.score(ask("x"), ["a"], arrived=time.monotonic() - 100)


def test_callers_on_many_threads_get_their_own_answers(chat: Engine, ask: Ask) -> None:
    words = ["red", "green", "blue", "black", "white", "brown"]
    answers: dict[str, str] = {}

    def call(word: str) -> None:
        answers[word] = chat.generate(ask(f"Repeat: {word}", schema={"const": word})).text

    threads = [threading.Thread(target=call, args=(word,)) for word in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {word: json.dumps(word) for word in words}


def test_closing_ends_what_runs_and_refuses_what_comes(registry: Registry, ask: Ask) -> None:
    engine = Engine.load(registry.get(), n_ctx=2048)
    failures: list[BaseException] = []

    def call() -> None:
        try:
            engine.generate(ask("alpha beta gamma " * 400, max_tokens=1000))
        except Unreachable as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    while not engine.counters["active"]:
        time.sleep(0.001)
    engine.close()
    thread.join()
    assert len(failures) == 1
    engine.close()
    with pytest.raises(Unreachable, match="unloaded"):
        engine.generate(ask("x"))


def test_an_altered_model_is_not_loaded(registry: Registry, tmp_path: Path) -> None:
    model = registry.get()
    file = tmp_path / "altered.gguf"
    data = bytearray(model.file.read_bytes())
    data[-1000] ^= 1
    file.write_bytes(data)
    with pytest.raises(IntegrityError, match="not the one that was added"):
        Engine.load(replace(model, file=file))


def test_what_llama_cpp_cannot_load_is_one_clear_line(
    tiny_gguf: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match=r"llama\.cpp cannot load the model: ") as caught:
        Engine.load(describe(tiny_gguf(tmp_path / "tiny.gguf")))
    assert "\n" not in str(caught.value)
    assert "no reason given" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "settings",
    [{"n_ctx": 10**6}, {"n_ctx": -1}, {"n_threads": -1}, {"gpu_layers": -2}],
    ids=lambda each: next(iter(each)),
)
def test_settings_that_cannot_be_are_refused(registry: Registry, settings: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        Engine.load(registry.get(), **settings)  # type: ignore[arg-type]


def test_the_digest_is_of_the_file_that_ran(chat: Engine) -> None:
    assert sha256(chat.model.file.read_bytes()) == chat.model.sha256
