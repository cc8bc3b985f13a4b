"""What pydantic found wrong, as people are told it."""

from typing import Any

import pytest
from pydantic import AnyUrl, BaseModel, ValidationError, model_validator

from store.records.problems import problem, problems


class Part(BaseModel):
    size: int
    link: AnyUrl | None = None

    @model_validator(mode="after")
    def _small(self) -> "Part":
        if self.size > 9:
            raise ValueError("A part is small")
        return self


class Whole(BaseModel):
    parts: list[Part]
    name: str


def error_of(model: type[BaseModel], value: Any) -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        model.model_validate(value)
    return raised.value


def test_the_first_problem_is_told_with_its_place_and_without_the_value() -> None:
    error = error_of(Whole, {"parts": [{"size": 1}, {"size": "hunter2"}]})
    place, said = problem(error)
    assert place == "parts.1.size"
    assert said.startswith("input should be a valid integer")
    assert problems(error) == f"{place}: {said}"
    assert problems(error, most=2) == f"{place}: {said}, name: field required"
    assert "hunter2" not in problems(error, most=2)


def test_a_problem_of_the_whole_is_called_what_the_caller_says() -> None:
    error = error_of(Part, {"size": 10})
    assert problem(error) == ("", "a part is small")
    assert problems(error) == "it: a part is small"
    assert problems(error, "the part") == "the part: a part is small"


def test_a_word_in_capitals_keeps_them() -> None:
    error = error_of(Part, {"size": 1, "link": 3})
    assert problems(error) == "link: URL input should be a string or URL"
