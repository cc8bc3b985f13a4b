"""The requests of the engine's benchmark: the same for all, of the sizes that the issue asks for."""

import json
import re
from dataclasses import asdict

import pytest
from llguidance import LLMatcher

from benchmarks.engine.prose import estimate
from benchmarks.engine.schemas import REVIEWER, ROUTER, WORKER, Schema, gbnf, lark
from benchmarks.engine.workload import CHAIN, Level, agents, free_text, probe, stall


def test_the_same_name_gives_the_same_requests_and_another_name_others() -> None:
    assert agents(8, 48, "a") == agents(8, 48, "a")
    assert {job.user for job in agents(8, 48, "a").jobs}.isdisjoint(job.user for job in agents(8, 48, "b").jobs)


def test_a_level_of_agents_has_whole_chains_and_enough_requests() -> None:
    jobs = agents(8, 48, "a").jobs
    assert len(jobs) == 50
    assert [job.number for job in jobs] == list(range(50))
    roles = [job.role for job in jobs]
    assert (roles.count("router"), roles.count("worker"), roles.count("reviewer")) == (10, 30, 10)
    assert len(jobs) == CHAIN * 10


def test_workers_wait_for_their_router_and_the_reviewer_for_its_workers() -> None:
    jobs = agents(8, 15, "a").jobs
    for job in jobs:
        match job.role:
            case "router":
                assert job.after == ()
            case "worker":
                assert [jobs[number].role for number in job.after] == ["router"]
            case _:
                assert [jobs[number].role for number in job.after] == ["worker"] * 3
                assert len({jobs[number].after for number in job.after}) == 1
        assert all(number < job.number for number in job.after)


def test_all_agents_share_one_prefix_of_one_to_two_thousand_tokens() -> None:
    jobs = agents(8, 48, "a").jobs
    assert len({job.system for job in jobs}) == 1
    assert 1000 < estimate(jobs[0].system) < 2000
    # About, since the estimate is one: the report tells what the model's tokenizer makes of them.
    assert all(80 < estimate(job.user) < 420 for job in jobs)
    assert len({job.user for job in jobs}) == len(jobs)


def test_two_levels_share_no_prefix() -> None:
    one, two = (agents(8, 5, name).jobs[0].system for name in ("first", "second"))
    assert one[: len("Site f")] != two[: len("Site f")]


def test_a_warm_level_shares_the_prefix_of_the_cold_one_and_nothing_else() -> None:
    cold, warm = agents(8, 48, "a"), agents(8, 48, "a", warm=True)
    assert cold.jobs[0].system == warm.jobs[0].system
    assert {job.user for job in cold.jobs}.isdisjoint(job.user for job in warm.jobs)
    assert (cold.warm, warm.warm) == (False, True)


def test_free_text_shares_nothing_and_asks_for_no_schema() -> None:
    jobs = free_text(16, 32, "a").jobs
    assert len({job.system[:4] for job in jobs}) == len(jobs) == 32
    assert all(job.schema is None and 64 <= job.max_tokens <= 128 for job in jobs)


def test_the_last_job_of_a_stall_is_the_long_one() -> None:
    *streams, arrival = stall(4, "a").jobs
    assert len(streams) == 4
    assert estimate(arrival.user) > 5500
    assert all(estimate(job.user) < 200 and job.max_tokens >= 600 for job in streams)


def test_a_level_survives_its_way_through_json() -> None:
    for level in (agents(4, 5, "a", warm=True), free_text(1, 2, "a"), stall(2, "a", 300)):
        assert Level.parse(json.loads(json.dumps(asdict(level)))) == level


def test_probes_differ_from_the_start() -> None:
    assert probe("1 probe").system[:6] != probe("2 probe").system[:6]


@pytest.mark.parametrize("schema", [ROUTER, WORKER, REVIEWER])
def test_llguidance_takes_the_grammar_that_the_peer_is_given(schema: Schema) -> None:
    prefix = "%llguidance {}\n"
    text = lark(schema)
    assert text.startswith(prefix)
    assert LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(text)) == ""
    inner = json.loads(text.removeprefix(prefix).removeprefix("start: %json "))
    assert inner.pop("x-guidance") == {"whitespace_flexible": False}
    assert inner == schema


def test_the_gbnf_of_a_schema_writes_compact_json_in_the_order_of_the_properties() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"enum": ["x", 'y"']},
            "b": {"type": "boolean"},
            "c": {"type": "string", "minLength": 1, "maxLength": 3},
            "d": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
        },
    }
    rule = gbnf(schema).splitlines()[0]
    assert rule == (
        r'root ::= "{\"a\":" ("\"x\"" | "\"y\\\"\"") ",\"b\":" ("true" | "false") ",\"c\":" "\"" char{1,3} "\""'
        r' ",\"d\":" "[" ("true" | "false") ("," ("true" | "false")){0,1} "]" "}"'
    )


@pytest.mark.parametrize("schema", [ROUTER, WORKER, REVIEWER])
def test_every_property_of_a_schema_is_in_its_gbnf(schema: Schema) -> None:
    names = [name.removesuffix(r"\":").removeprefix(r"\"") for name in re.findall(r'\\"\w+\\":', gbnf(schema))]
    assert set(schema["properties"]) <= set(names)


@pytest.mark.parametrize(
    "schema",
    [{"type": "number"}, {"anyOf": []}, {"type": "array", "items": {"type": "boolean"}, "minItems": 0, "maxItems": 2}],
)
def test_what_gbnf_here_cannot_say_is_an_error(schema: Schema) -> None:
    with pytest.raises(ValueError, match=r"GBNF|array"):
        gbnf(schema)
