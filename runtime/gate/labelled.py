"""The outermost wrapper: labels go in with the call and come out, joined, with the result; and each argument of an
effect goes in with where it comes from.

It trusts no label that comes from below: what a result is labelled with follows from the call and the tool's record
alone, so no tool can vouch for itself.
"""

from dataclasses import replace

from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.plan import Placed
from runtime.gate.provenance.directory import Directories
from runtime.gate.provenance.grounds import Grounds
from runtime.gate.provenance.origin import Origin, origins
from runtime.gate.recorder import Recorder, draft
from store.records.canonical import Json
from store.records.errors import Denied
from store.records.kinds import Kind
from store.records.labels import Classification, Integrity, Labels
from tools.record import OutputLabel


class Labelled(Gate):
    """Denies what belongs to another tenant, says where arguments come from, and labels what comes back."""

    def __init__(self, inner: Gate, recorder: Recorder, directories: Directories) -> None:
        self._inner = inner
        self._recorder = recorder
        self._directories = directories

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises Denied if the labels of the arguments are not of the caller's tenant."""
        result = await self._inner.call(self.check(call))
        return replace(result, labels=result_labels(call, result.error))

    def check(self, call: ToolCall) -> ToolCall:
        """The call with the origins of its arguments, whatever it said of them itself. A local read does nothing to the
        world, and has none. Raises Denied, and puts it on record, if the call carries another tenant's values."""
        tenant = call.principal.user.tenant
        if call.labels.tenant == tenant:
            return replace(call, origins=() if call.record.local_read else self._origins(call))
        self._recorder.append(
            draft(call, Kind.DECISION, decision="deny"),
            {"by": "labels", "tenant": tenant, "labels": call.labels.json()},
        )
        raise Denied(
            f"{call.record.name} was called with values of another tenant", f"run {call.run}, step {call.step}"
        )

    def learned(self, call: ToolCall, value: Json) -> Grounds:
        """What a run has to show for its values once a read gave it `value`: the texts in it besides, if the tool's
        results are trusted, and what it was asked for is as well. Else whoever chose the question chose the answer.

        What is confidential is not among them: true as it is, that it may be told to others is for a person to say.
        """
        declared = call.record.output_label
        trusted = declared.integrity.upper() == Integrity.TRUSTED.name
        tells = trusted and _classified(declared) <= Classification.INTERNAL
        if not tells or not self.vouches(call):
            return call.grounds
        return call.grounds.learning(value, f"tool:{call.record.name}")

    def vouches(self, call: ToolCall) -> bool:
        """Whether every argument of a call is trusted, by the rules for those that are consequential."""
        found = self._origins(call, every=True)
        return all(origin.trusted for origin in found) and len(found) == len(_given(call))

    def _origins(self, call: ToolCall, *, every: bool = False) -> tuple[Origin, ...]:
        """Where the arguments come from. Of what cannot be written down exactly nobody can say; policy denies it."""
        try:
            found = origins(call.record, call.arguments, call.grounds, self._directories, every=every)
            return found if call.placed is None else tuple(_traced(each, call.placed) for each in found)
        except (LookupError, ValueError, TypeError, RecursionError):
            return ()


def _given(call: ToolCall) -> list[str]:
    """The arguments that a call has: null is none."""
    return [name for name, value in call.arguments.items() if value is not None]


def _traced(origin: Origin, placed: Placed) -> Origin:
    """The origin of a planned argument: of one that is not trusted the plan knows which sources it came from.

    The user's words, or a constant, vouch for one call. In a step that is done for each of several items of an
    untrusted list they vouch for none, and the list is a source of every argument: it says how often.
    """
    often = placed.often()
    repeated = often is not None and often.integrity is not Integrity.TRUSTED
    if origin.trusted and not repeated:
        return origin
    listed = often.sources if often is not None and repeated else ()
    sources = {*origin.sources, *placed.sources(origin.argument), *listed}
    return replace(origin, trusted=False, sources=tuple(sorted(sources)))


def result_labels(call: ToolCall, error: bool) -> Labels:
    """The labels of what a call gives back: the call's own, joined with the tool's output label.

    A label name that nobody knows counts as the worst one. The text of an error is whatever the server cares to say,
    so it is never trusted, even of a tool whose results are.
    """
    declared = call.record.output_label
    classification = _classified(declared)
    integrity = Integrity.__members__.get(declared.integrity.upper(), Integrity.UNTRUSTED)
    if error:
        integrity = Integrity.UNTRUSTED
    output = Labels(call.labels.tenant, classification, integrity, (f"tool:{call.record.name}",))
    return call.labels.join(output)


def _classified(declared: OutputLabel) -> Classification:
    """How secret a tool's results are; a name that nobody knows counts as the highest."""
    return Classification.__members__.get(declared.classification.upper(), Classification.RESTRICTED)
