"""The table of verbs: what can be asked over the socket, with the types of arguments and result.

A verb is a method of the interface `Verbs`, whose signature is read here and written nowhere else. A verb is added
with its method in `backend.py`, one line in this table and one in the client. Nothing outside the table can be called.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError, create_model

from runtime.gateway.backend import Verbs
from runtime.gateway.messages import Wire
from store.records.errors import SettingsError
from store.records.problems import problems


class Verb:
    """One verb. Models are built when they are first needed: a command that asks once pays for one."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.name: str = method.__name__
        self._method = method

    @property
    def stream(self) -> bool:
        """True if the verb answers with items."""
        return get_origin(self._hints["return"]) is AsyncIterator

    @cached_property
    def arguments(self) -> type[Wire]:
        """The model of the arguments: a field for each parameter, with its default."""
        fields: dict[str, Any] = {
            parameter.name: (
                self._hints[parameter.name],
                ... if parameter.default is parameter.empty else parameter.default,
            )
            for parameter in self._parameters
        }
        return create_model(f"{self.name.title()}Arguments", __base__=Wire, **fields)

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """The type of the result, or of each item of a stream."""
        returned = self._hints["return"]
        return TypeAdapter(get_args(returned)[0] if self.stream else returned)

    def named(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a Python call, each with its name. Raises TypeError if they do not fit the method."""
        names = [parameter.name for parameter in self._parameters]
        if len(positional) > len(names):
            raise TypeError(f"{self.name} takes at most {len(names)} arguments")
        given = dict(zip(names, positional, strict=False))
        if twice := given.keys() & named.keys():
            raise TypeError(f"{self.name} got {', '.join(sorted(twice))} twice")
        return given | dict(named)

    def check(self, arguments: bytes) -> dict[str, Any]:
        """The arguments in a JSON object, as the method takes them. Raises SettingsError in plain words.

        Nothing is converted: a yes that is the text "no" is refused, not guessed at.
        """
        try:
            model = self.arguments.model_validate_json(arguments, strict=True)
        except ValidationError as error:
            raise SettingsError(f"wrong arguments for {self.name}: {problems(error, 'message', 5)}") from None
        return {name: getattr(model, name) for name in self.arguments.model_fields}

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._method)

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self._method).parameters.values())[1:]


VERBS: Mapping[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(Verbs.runs),
        Verb(Verbs.run),
        Verb(Verbs.events),
        Verb(Verbs.sql),
        Verb(Verbs.verify),
        Verb(Verbs.export),
        Verb(Verbs.checkpoints),
        Verb(Verbs.destroyed),
        Verb(Verbs.holds),
        Verb(Verbs.prove),
        Verb(Verbs.checkpoint),
        Verb(Verbs.storage),
        Verb(Verbs.costs),
        Verb(Verbs.alerts),
        Verb(Verbs.policy),
        Verb(Verbs.propose_policy),
        Verb(Verbs.proposed_policy),
        Verb(Verbs.approve_policy),
        Verb(Verbs.submit),
        Verb(Verbs.follow),
        Verb(Verbs.approvals),
        Verb(Verbs.answer),
        Verb(Verbs.grants),
        Verb(Verbs.propose_grant),
        Verb(Verbs.add_grant),
        Verb(Verbs.revoke_grant),
        Verb(Verbs.resume),
        Verb(Verbs.cancel),
        Verb(Verbs.pause),
        Verb(Verbs.signal),
        Verb(Verbs.questions),
        Verb(Verbs.reply),
        Verb(Verbs.retry),
        Verb(Verbs.fork),
        Verb(Verbs.settle),
        Verb(Verbs.halt),
        Verb(Verbs.release),
        Verb(Verbs.hold),
        Verb(Verbs.end_hold),
        Verb(Verbs.shred),
        Verb(Verbs.sweep),
        Verb(Verbs.backup),
        Verb(Verbs.status),
        Verb(Verbs.stop),
        Verb(Verbs.queues),
        Verb(Verbs.schedules),
        Verb(Verbs.add_schedule),
        Verb(Verbs.change_schedule),
        Verb(Verbs.whoami),
        Verb(Verbs.users),
        Verb(Verbs.issue_token),
        Verb(Verbs.tokens),
        Verb(Verbs.revoke_token),
        Verb(Verbs.budgets),
        Verb(Verbs.set_budget),
    )
}
