"""The budget wrapper: a call that would overspend is not made."""

from runtime.gate.budgets import Budgets
from runtime.gate.call import Gate, ToolCall, ToolResult


class Budgeted(Gate):
    """Counts the call before it is made. It counts even if it fails: that it was tried is what was spent."""

    def __init__(self, inner: Gate, budgets: Budgets) -> None:
        self._inner = inner
        self._budgets = budgets

    async def call(self, call: ToolCall) -> ToolResult:
        """As Gate.call. Raises BudgetExceeded before anything happens."""
        reservation = self._budgets.reserve_call(call.run, call.principal.user, call.step)
        try:
            return await self._inner.call(call)
        finally:
            self._budgets.settle(reservation, reservation.amount)
