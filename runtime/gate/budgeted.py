"""The budget wrapper: a call that would overspend is not made, and the log says why; what one costs is on record."""

from runtime.gate.budgets import Asked, Budgets
from runtime.gate.call import Gate, ToolCall, ToolResult
from runtime.gate.rates import Rates
from runtime.gate.recorder import Recorder, draft, fingerprint, ruling
from store.records.canonical import Json
from store.records.errors import BudgetExceeded
from store.records.kinds import Kind
from store.records.usage import OVER_BUDGET


class Budgeted(Gate):
    """Counts the call before it is made. It counts even if it fails: that it was tried is what was spent."""

    def __init__(self, inner: Gate, budgets: Budgets, rates: Rates, recorder: Recorder) -> None:
        self._inner = inner
        self._budgets = budgets
        self._rates = rates
        self._recorder = recorder

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises BudgetExceeded before anything happens."""
        try:
            reservation = self._budgets.reserve_call(self.asked(call))
        except BudgetExceeded as error:
            self.refuse(call, error)
            raise
        try:
            if cost := reservation.amount.cost_micros:
                self._recorder.append(draft(call, Kind.CALL_CHARGED, cost_micros=cost))
            return await self._inner.call(call)
        finally:
            self._budgets.settle(reservation, reservation.amount)

    def asked(self, call: ToolCall) -> Asked:
        """What the budgets are asked for."""
        return Asked(call.run, call.step, call.principal, self._rates.of_tool(call.record.name))

    def refuse(self, call: ToolCall, error: BudgetExceeded) -> None:
        """Put on record that a call which policy let through is not made, and why."""
        payload: Json = {"by": "budget", "policies": [], "problem": str(error)}
        ruling(self._recorder, call, payload, decision=OVER_BUDGET, fingerprint=fingerprint(call))
