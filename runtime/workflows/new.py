"""`bailiwick workflows new`: a workflow to start from, and its test."""

from pathlib import Path

from store.records.errors import SettingsError

WORKFLOW = '''"""A workflow of our own."""

from pydantic import BaseModel

from bailiwick import ByModel, Run, workflow

TOOLS = ("ops.read_logs", "ops.restart_service", "ops.page_on_call")
BY_MODEL = (ByModel("ask", "which service is restarted"),)  # all else is decided by this file


class Facts(BaseModel):
    """What the model is asked for."""

    service: str


async def page_someone(run: Run) -> str:
    """The fallback: what is done, by rule, when the model does not get there."""
    run.stage("ops.page_on_call", message=run.task)
    await run.review()
    await run.commit()
    return "a person was paged"


@workflow("{name}", version=1, fallback=page_someone, tools=TOOLS, by_model=BY_MODEL)
async def {function}(run: Run) -> str:
    """Restart the service that the task names. (The router reads this paragraph.)"""
    facts = await run.ask(Facts, "Which service is it about?")
    await run.call("ops.read_logs", service=facts.service)  # the reviewer wants evidence on what is changed
    run.stage("ops.restart_service", service=facts.service)
    await run.review()
    await run.commit()
    return f"{{facts.service}} was restarted"
'''

TEST = '''"""The workflow's own logic, tested without a model or a world: `python -m pytest {test}`."""

import asyncio

from bailiwick import FakeRun, ModelFailed
from {module} import {function}


def test_restarts_what_the_model_names() -> None:
    run = FakeRun(
        world={{
            "ops.read_logs": lambda service: {{"lines": [f"{{service}} does not answer"]}},
            "ops.restart_service": lambda service: {{"restarted": service}},
        }},
        answers=[{{"service": "orders"}}],
    )
    assert asyncio.run({function}(run)) == "orders was restarted"
    assert [receipt.tool for receipt in run.committed] == ["ops.restart_service"]


def test_pages_someone_when_the_model_fails() -> None:
    world = {{"ops.page_on_call": lambda message: {{"paged": message}}}}
    run = FakeRun(world=world, answers=[ModelFailed("no answer")])
    assert {function}.fallback is not None
    assert asyncio.run({function}.fallback(run)) == "a person was paged"
'''


def write(file: Path) -> tuple[Path, Path]:
    """Write the workflow to `file`, and its test next to it. Raises SettingsError if that cannot be done."""
    module = file.stem
    if file.suffix != ".py" or not module.isidentifier():
        raise SettingsError("a workflow file is named like a Python module", str(file), "as in close_ticket.py")
    test = file.with_name(f"test_{module}.py")
    words = {"name": module.replace("_", "-"), "function": module, "module": module, "test": test.name}
    for path, text in ((file, WORKFLOW), (test, TEST)):
        try:
            with path.open("x") as target:
                target.write(text.format(**words))
        except FileExistsError:
            raise SettingsError("the file is there already", str(path), "choose another name") from None
        except OSError as error:
            raise SettingsError(f"cannot write the file: {error.strerror}", str(path), "choose another place") from None
    return file, test
