"""Functions as tools: the signature is the schema, and what goes wrong has a type."""

import time

import pytest

from store.records.errors import SettingsError, Timeout, ToolFailed
from tools.functions import FunctionToolset
from tools.results import BadResult


async def test_a_signature_is_a_schema_without_the_key() -> None:
    toolset = FunctionToolset("lab")

    @toolset.tool(key_argument="key", target="service", consequential=("service",))
    def stop(service: str, key: str, force: bool = False) -> dict[str, str]:
        """Stop a service."""
        return {"service": service, "key": key}

    (record,) = await toolset.records()
    assert record.name == "lab.stop"
    assert record.description == "Stop a service."
    assert set(record.input_schema["properties"]) == {"service", "force"}
    assert record.input_schema["required"] == ["service"]
    await toolset.open()
    assert (await toolset.call("lab.stop", {"service": "a", "key": "k"}, 60)).value == {"service": "a", "key": "k"}
    await toolset.close()


@pytest.mark.parametrize("said", [{"target": "nothing"}, {"effect": "maybe"}, {"colour": "red"}, {"timeout_s": 0}])
def test_a_classification_that_does_not_fit_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"lab\.run"):
        FunctionToolset("lab").tool(**said)(run)


def run() -> None:
    """Does nothing."""


async def test_a_bug_in_a_function_is_named_by_its_kind_and_quotes_nothing() -> None:
    toolset = FunctionToolset("lab")

    @toolset.tool()
    def broken() -> None:
        raise RuntimeError("hunter2")

    await toolset.open()
    with pytest.raises(ToolFailed, match="RuntimeError") as caught:
        await toolset.call("lab.broken", {}, 60)
    assert "hunter2" not in str(caught.value)
    await toolset.close()


async def test_a_function_that_blocks_times_out() -> None:
    toolset = FunctionToolset("lab")

    @toolset.tool()
    def block() -> None:
        time.sleep(0.5)

    await toolset.open()
    with pytest.raises(Timeout):
        await toolset.call("lab.block", {}, 0.05)
    await toolset.close()


async def test_wrong_arguments_and_results_too_large_are_refused() -> None:
    toolset = FunctionToolset("lab")

    @toolset.tool()
    def repeat(times: int) -> str:
        return "x" * times

    await toolset.open()
    with pytest.raises(ToolFailed, match="signature"):
        await toolset.call("lab.repeat", {"times": "often"}, 60)
    with pytest.raises(BadResult, match="more than 256 KiB"):
        await toolset.call("lab.repeat", {"times": 300_000}, 60)
    assert (await toolset.call("lab.repeat", {"times": 2}, 60)).value == "xx"
    await toolset.close()
