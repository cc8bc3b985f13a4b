"""The function-calling benchmark without a model: data, the loop around the real worker, checker, report."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from benchmarks.bfcl.__main__ import main
from benchmarks.bfcl.data import Row, load, schema
from benchmarks.bfcl.report import Judged, Tally, table, wrong
from benchmarks.bfcl.scorer import Scorer
from benchmarks.bfcl.solver import MOST_CALLS, Solution, solve
from models.request import Completion, Request
from store.records.errors import ModelFailed, SettingsError

PLACE: dict[str, Any] = {
    "name": "map.find",
    "description": "Find a place.",
    "parameters": {
        "type": "dict",
        "properties": {
            "near": {"type": "tuple", "items": {"type": "float"}, "description": "Where."},
            "name": {"type": "any", "description": "What.", "default": "home"},
            "filter": {"type": "dict", "properties": {"open": {"type": "boolean"}}, "required": ["open"]},
            "extra": {"type": "dict", "description": "Anything."},
        },
        "required": ["near"],
    },
}


def row(category: str = "simple_python", **changes: Any) -> Row:
    return Row(**{"id": f"{category}_0", "category": category, "system": "", "question": "Where is it?"} | changes)


class Script:
    """A model that gives the answers it was made with, in their order; an error is raised."""

    def __init__(self, *answers: str | ModelFailed) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, ModelFailed):
            raise answer
        stop: Literal["end", "length"] = "end" if answer.endswith("}") else "length"
        return Completion(answer, stop, "m", "", "", "", 0, "greedy", 7, 0, 3, 2, 0, 0)

    async def embed(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("the worker embeds nothing")


def call(**arguments: Any) -> str:
    return json.dumps({"tool": "map.find", "arguments": arguments})


DONE = json.dumps({"tool": "done", "arguments": {"summary": "found"}})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five rows of a category, and their answers."""
    (tmp_path / "possible_answer").mkdir()
    asked, told = [], []
    for number in range(5):
        messages = [{"role": "system", "content": "Be exact."}, {"role": "user", "content": f"Where is {number}?"}]
        asked.append({"id": f"multiple_{number}", "question": [messages], "function": [PLACE, PLACE]})
        told.append({"id": f"multiple_{number}", "ground_truth": [{"map.find": {"near": [[number]]}}]})
    for folder, rows in ((tmp_path, asked), (tmp_path / "possible_answer", told)):
        text = "".join(json.dumps(each) + "\n" for each in rows)
        (folder / "BFCL_v4_multiple.json").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "limit", "numbers"),
    [("all", 0, [0, 1, 2, 3, 4]), ("even", 0, [0, 2, 4]), ("odd", 0, [1, 3]), ("even", 2, [0, 2]), ("odd", 9, [1, 3])],
)
def test_rows_are_chosen_by_number_and_carry_their_own_answer(
    data: Path, rows: Any, limit: int, numbers: list[int]
) -> None:
    found = load(data, "multiple", rows, limit)
    assert [each.id for each in found] == [f"multiple_{number}" for number in numbers]
    assert [each.question for each in found] == [f"Where is {number}?" for number in numbers]
    assert [each.answer[0]["map.find"]["near"] for each in found] == [[[number]] for number in numbers]
    assert {each.system for each in found} == {"Be exact."}


def test_an_answer_to_another_row_is_an_error(data: Path) -> None:
    file = data / "possible_answer" / "BFCL_v4_multiple.json"
    file.write_text(file.read_text(encoding="utf-8").split("\n", 1)[1], encoding="utf-8")
    with pytest.raises(ValueError, match="multiple_1 is not the answer of multiple_0"):
        load(data, "multiple")


def test_a_category_without_answers_has_rows_without_calls(data: Path) -> None:
    (data / "possible_answer" / "BFCL_v4_multiple.json").unlink()
    assert [each.answer for each in load(data, "multiple", limit=2)] == [(), ()]


def test_bfcls_types_become_json_schema() -> None:
    assert schema(PLACE["parameters"]) == {
        "type": "object",
        "properties": {
            "near": {"type": "array", "description": "Where.", "items": {"type": "number"}},
            "name": {"type": "string", "description": "What.", "default": "home"},
            "filter": {"type": "object", "properties": {"open": {"type": "boolean"}}, "required": ["open"]},
            "extra": {"type": "object", "description": "Anything.", "additionalProperties": True},
        },
        "required": ["near"],
    }


async def test_a_row_of_one_call_is_asked_once_through_the_workers_prompt() -> None:
    model = Script(call(near=[1, 2]))
    (solution,) = await solve(model, [row(functions=(PLACE,), answer=())], 2)
    assert solution == Solution(({"map.find": {"near": [1, 2]}},), solution.completions)
    text = "\n".join(message.content for message in model.requests[0].messages)
    assert "map.find" in text
    assert "Where is it?" in text
    assert len(solution.completions) == 1


@pytest.mark.parametrize(
    ("answers", "calls", "error"),
    [
        ([call(near=[1]), call(near=[2]), DONE], [[1], [2]], ""),
        ([call(near=[1]), call(near=[1])], [[1]], ""),
        ([call(near=[1]), '{"tool":"map'], [[1]], "no whole answer"),
        ([call(near=[1]), ModelFailed("it broke")], [[1]], "ModelFailed: it broke"),
        ([call(near=[number]) for number in range(9)], [[number] for number in range(MOST_CALLS)], ""),
    ],
)
async def test_parallel_calls_are_asked_for_until_the_worker_ends(
    answers: list[Any], calls: list[list[int]], error: str
) -> None:
    model = Script(*answers)
    (solution,) = await solve(model, [row("parallel", functions=(PLACE,), answer=())], 1)
    assert [each["map.find"]["near"] for each in solution.calls] == calls
    assert solution.error == error
    assert '{"staged":true}' in model.requests[-1].messages[-1].content


async def test_the_end_at_once_is_no_call() -> None:
    (solution,) = await solve(Script(DONE), [row("irrelevance", functions=(PLACE,), answer=())], 1)
    assert solution.calls == ()


async def test_solutions_keep_the_order_of_their_rows() -> None:
    rows = [row(functions=(PLACE,), answer=(), question=f"{number}?") for number in range(12)]
    model = Script(*(call(near=[number]) for number in range(12)))
    solutions = await solve(model, rows, 5)
    asked = [request.messages[-1].content for request in model.requests]
    assert [f"{each.calls[0]['map.find']['near'][0]}?" in text for each, text in zip(solutions, asked, strict=True)]
    assert sorted(each.calls[0]["map.find"]["near"][0] for each in solutions) == list(range(12))


CHECKER = """
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING
from bfcl_eval.eval_checker.ast_eval.type_convertor.java_type_converter import java_type_converter
from bfcl_eval.eval_checker.ast_eval.type_convertor.js_type_converter import js_type_converter

def ast_checker(functions, calls, answer, language, category, model):
    assert language == "python" and not MODEL_CONFIG_MAPPING[model].underscore_to_dot
    right = calls == answer
    return {"valid": right, "error": [] if right else ["Wrong."], "error_type": "" if right else f"{category}:wrong"}
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package laid out as bfcl-eval is, whose heavy modules cannot be imported and whose checker wants equality."""
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "bfcl_eval"
    ast_eval = package / "eval_checker" / "ast_eval"
    for folder in (package / "constants", ast_eval / "type_convertor"):
        folder.mkdir(parents=True)
    heavy = "raise ImportError('a client that is not installed')\n"
    (package / "constants" / "model_config.py").write_text(heavy)
    (ast_eval / "type_convertor" / "java_type_converter.py").write_text(heavy)
    (ast_eval / "type_convertor" / "js_type_converter.py").write_text(heavy)
    (package / "constants" / "enums.py").write_text("class Language:\n    PYTHON = 'python'\n")
    (ast_eval / "ast_checker.py").write_text(CHECKER)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        del sys.modules[name]


def test_the_checker_is_used_without_what_it_does_not_need(installed: Path) -> None:
    scorer = Scorer()
    asked = row(functions=(PLACE,), answer=({"map.find": {"near": [1]}},))
    assert scorer.data == installed / "data"
    assert scorer.misfit(asked, [{"map.find": {"near": [1]}}]) == ""
    assert scorer.misfit(asked, [{"map.find": {"near": [2]}}]) == "simple_python:wrong: Wrong."
    assert scorer.misfit(asked, []) == "no function was called"


def test_where_no_function_fits_only_no_call_is_right(installed: Path) -> None:
    asked = row("irrelevance", functions=(PLACE,), answer=())
    assert Scorer().misfit(asked, []) == ""
    assert Scorer().misfit(asked, [{"map.find": {}}])


def test_a_missing_checker_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "bfcl_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(SettingsError, match="not installed"):
        Scorer()
    assert main([]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "pip install --no-deps bfcl-eval==" in shown


def test_data_that_is_not_there_is_one_line(installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--categories", "multiple"]) == 1
    assert capsys.readouterr().err.startswith("benchmarks.bfcl: BFCL's data cannot be read")


@pytest.mark.parametrize("bad", [["--categories", "poems"], ["--limit", "-1"], ["--rows", "prime"], ["--limit", "x"]])
def test_options_that_cannot_be_meant_are_refused(bad: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(bad)
    assert ended.value.code == 2
    assert bad[0] in capsys.readouterr().err


async def test_a_report_counts_rows_and_tokens() -> None:
    rows = [row(functions=(PLACE,), answer=()) for _ in range(4)]
    solutions = await solve(Script(*(call(near=[number]) for number in range(4))), rows, 1)
    judged = [Judged(*pair, "" if place else "wrong") for place, pair in enumerate(zip(rows, solutions, strict=True))]
    tally = Tally.of("simple_python", judged, 2.0)
    assert tally.json() == {
        "rows": 4,
        "right": 3,
        "accuracy": 75.0,
        "prompt_tokens": 28,
        "sampled_tokens": 12,
        "forced_tokens": 8,
        "seconds": 2.0,
    }
    assert "75.0 %" in table([tally]).splitlines()[1]
    assert len(wrong(judged)) == 1
    assert wrong(judged)[0].startswith("simple_python_0: ")
    assert Tally.of("multiple", [], 0.0).accuracy == 0
