"""What a model may decide in a workflow, as the workflow declares it. Whatever is not declared, its own code decides.

The declaration is for people to read and for the conductor to hold the workflow to; it grants nothing by itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from store.records.errors import SettingsError

Step = Literal["ask", "route", "work", "child"]
DECIDES_CHARS = 200


@dataclass(frozen=True, slots=True)
class ByModel:
    """A kind of step that a model decides, and in words for whoever answers for the workflow what it decides there.

    `ask` fills in a form, `route` picks one of several, `work` reads and stages effects with `tools` (empty: any that
    the workflow may use), and `child` begins a run in which a model decides. Raises SettingsError if it is none of it.
    """

    step: Step
    decides: str
    tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what nobody could be held to, or nobody could read."""
        if self.step not in get_args(Step):
            raise SettingsError(f"no model decides a step {self.step!r}", do=f"name one of {', '.join(get_args(Step))}")
        if not (self.decides.strip() and self.decides.isprintable() and len(self.decides) <= DECIDES_CHARS):
            what = f"what a model decides is told in one line of at most {DECIDES_CHARS} characters"
            raise SettingsError(what, f"by_model, {self.step}")
        if self.tools and self.step != "work":
            raise SettingsError(f"a step {self.step!r} uses no tools", self.decides, "leave them out, or write `work`")


def permits(declared: Sequence[ByModel] | None, step: str, tools: Iterable[str] = ()) -> bool:
    """Whether a model may decide a step of this kind with these tools. None: nobody declared anything, so it may."""
    asked = set(tools)
    return declared is None or any(each.step == step and asked <= set(each.tools or asked) for each in declared)
