"""The check of a plan, before it is frozen. Whoever wrote it is not trusted to have kept to the grammar.

What is wrong is said in one line, by the number of the step and in the words of tools and workflow: no text of the
model's is repeated.
"""

from collections.abc import Mapping

from runtime.conductor.plans.form import PLAIN, Form
from runtime.conductor.plans.kit import Kit, Variable, of_item, takes_effects
from runtime.gate.plan import ITEM, Plan, Source, Step
from store.records.canonical import Json
from store.records.errors import ModelFailed
from store.records.labels import Labels
from tools.record import ToolRecord


def checked(kit: Kit, given: Json, labels: Labels) -> Plan:
    """The plan in `given`, with the kit's constants. Raises ModelFailed with the first thing that is wrong with it."""
    try:
        plan = Plan.parse({"steps": given["steps"], "constants": dict(kit.constants)}, labels)
    except (ValueError, TypeError, KeyError) as error:
        said = f", it has {error}" if type(error) is ValueError else ""
        raise ModelFailed(f"the plan does not have the form of one{said}") from None
    if not plan.steps:
        raise ModelFailed("the plan has no step")
    if len(plan.steps) > kit.most:
        raise ModelFailed(f"the plan has {len(plan.steps)} steps, and {kit.most} are allowed")
    for number, step in enumerate(plan.steps, 1):
        if problem := _problem(kit, step, kit.variables(plan.steps[: number - 1])):
            raise ModelFailed(f"step {number} of the plan {problem}")
    return plan


def _problem(kit: Kit, step: Step, variables: Mapping[str, Variable]) -> str:
    """What is wrong with a step, after which these variables are bound; empty if nothing is."""
    if not PLAIN.match(step.name) or step.name == ITEM or step.name in variables:
        return "binds a name that cannot be bound there"
    if step.reader and step.reader not in kit.readers:
        return "reads by a schema that it was not given"
    if step.tool and step.tool not in kit.tools:
        return "calls a tool that it was not given"
    if step.each is not None:
        if problem := _each(kit, step, step.each, variables):
            return problem
        variables = {**variables, ITEM: Variable(_form(kit, step.each, variables).items())}
    if problem := next(filter(None, (_bound(kit, source, variables) for source in step.sources())), ""):
        return problem
    return _arguments(kit, kit.tools[step.tool], step, variables) if step.tool else _reading(step, variables)


def _each(kit: Kit, step: Step, each: Source, variables: Mapping[str, Variable]) -> str:
    """What is wrong with that which a step is done for each of."""
    if each.kind != "variable" or (each.name not in variables and not of_item(each)):
        return "maps over a variable that no step before it binds"
    if of_item(each):
        return "maps within a map"
    if problem := _bound(kit, each, variables):
        return problem
    if variables[each.name].effect:
        return "maps over what an effect gives, before it has happened"
    if "array" not in _form(kit, each, variables).kinds:
        return "maps over what is no list"
    return "" if any(map(of_item, step.arguments.values())) else "maps, and uses no item"


def _bound(kit: Kit, source: Source, variables: Mapping[str, Variable]) -> str:
    """Whether a source is there, of whatever form."""
    if source.kind == "constant" and source.name not in kit.constants:
        return "uses a constant that the workflow does not give it"
    if source.kind != "variable":
        return ""
    if source.name not in variables:
        return "uses a variable that no step before it binds"
    return "" if kit.form(source, variables) is not None else "uses a field that its variable does not have"


def _form(kit: Kit, source: Source, variables: Mapping[str, Variable]) -> Form:
    return kit.form(source, variables) or Form()


def _reading(step: Step, variables: Mapping[str, Variable]) -> str:
    [source] = step.arguments.values()
    if source.kind != "variable":
        return "reads what is no variable"
    return "reads what an effect gives, before it has happened" if variables[source.name].effect else ""


def _arguments(kit: Kit, tool: ToolRecord, step: Step, variables: Mapping[str, Variable]) -> str:
    wanted = kit.wanted(tool)
    if step.arguments.keys() - wanted.keys():
        return f"gives {tool.name} an argument that it does not take"
    if missing := sorted(set(tool.input_schema.get("required", [])) - step.arguments.keys()):
        return f"does not give {tool.name} its {missing[0]}"
    for argument, source in step.arguments.items():
        if problem := _argument(kit, tool, argument, source, variables):
            return problem
    return ""


def _argument(kit: Kit, tool: ToolRecord, argument: str, source: Source, variables: Mapping[str, Variable]) -> str:
    wrong = f"gives {tool.name} a {argument} of the wrong type"
    if source.kind == "variable":
        variable = variables[source.name]
        if variable.effect and not (source.field and takes_effects(tool, argument)):
            return f"takes the {argument} of {tool.name} from what an effect gives, before it has happened"
        return "" if _form(kit, source, variables).may_be(kit.wanted(tool)[argument]) else wrong
    value = source.value if source.kind == "value" else kit.constants[source.name]
    if not kit.fits(tool, argument, value):
        return wrong
    if source.kind == "value" and not kit.trusts(tool, argument, value):
        return f"gives {tool.name} a {argument} that is not in the user's words"
    return ""
