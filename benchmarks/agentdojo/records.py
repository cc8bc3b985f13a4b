"""Tool records for AgentDojo's tools: what each kind of tool does, and of which kind each tool is.

The rules are for kinds, none is for a task. What a tool gives back is untrusted, but for facts of the user's own
system. Every argument of an effect counts, but for what is written into a new object of the user's own, which goes
nowhere until another effect sends or shares it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from store.records.errors import SettingsError
from tools.record import Effect, OutputLabel, ToolRecord


@dataclass(frozen=True)
class Rule:
    """What holds for one kind of tool. `named` says that of its arguments only the first, the new name, counts."""

    write: bool = False
    egress: bool = False
    irreversible: bool = False
    trusted: bool = False
    named: bool = False


LOOK = Rule()
"""Reads what others may have written: files, mail, a calendar, transactions, messages, web pages, reviews."""
FACT = Rule(trusted=True)
"""Reads what the user's own system knows: contacts, the day, the user's own account and data."""
FETCH = Rule(egress=True)
"""Reads from outside: whoever is asked learns the question."""
SEND = Rule(write=True, egress=True, irreversible=True)
"""Tells others, or pays them."""
INVITE = Rule(write=True, egress=True)
"""Makes or changes something and tells others, and can be taken back or set right."""
CREATE = Rule(write=True, named=True)
"""Makes something new of the user's own, which nobody else sees yet."""
CHANGE = Rule(write=True)
"""Changes something of the user's own, and can set it right."""
DELETE = Rule(write=True, irreversible=True)
"""Ends something."""

KINDS: Mapping[Rule, tuple[str, ...]] = {
    LOOK: (
        "get_most_recent_transactions get_scheduled_transactions read_file",
        "get_unread_emails get_sent_emails get_received_emails get_draft_emails search_emails",
        "search_calendar_events get_day_calendar_events",
        "search_files_by_filename get_file_by_id list_files search_files",
        "get_channels read_channel_messages read_inbox get_users_in_channel",
        "get_all_hotels_in_city get_hotels_prices get_rating_reviews_for_hotels get_hotels_address",
        "get_all_restaurants_in_city get_cuisine_type_for_restaurants get_restaurants_address",
        "get_rating_reviews_for_restaurants get_dietary_restrictions_for_all_restaurants",
        "get_contact_information_for_restaurants get_price_for_restaurants check_restaurant_opening_hours",
        "get_all_car_rental_companies_in_city get_car_types_available get_rating_reviews_for_car_rental",
        "get_car_rental_address get_car_fuel_options get_car_price_per_day get_flight_information",
    ),
    FACT: (
        "get_iban get_balance get_user_info get_user_information",
        "search_contacts_by_name search_contacts_by_email get_current_day",
    ),
    FETCH: ("get_webpage",),
    SEND: ("send_money schedule_transaction send_email send_direct_message send_channel_message post_webpage",),
    INVITE: (
        "create_calendar_event reschedule_calendar_event add_calendar_event_participants share_file",
        "invite_user_to_slack add_user_to_channel reserve_hotel reserve_restaurant reserve_car_rental",
    ),
    CREATE: ("create_file",),
    CHANGE: ("update_scheduled_transaction update_password update_user_info append_to_file",),
    DELETE: ("delete_email delete_file cancel_calendar_event remove_user_from_slack",),
}
_RULES = {name: rule for rule, lines in KINDS.items() for line in lines for name in line.split()}


def records(functions: Iterable[Any]) -> dict[str, ToolRecord]:
    """A record for each of AgentDojo's functions, by the function's name.

    A tool belongs to the part of the environment that it acts on first. Raises SettingsError for one of no known kind.
    """
    return {function.name: _record(function) for function in functions}


def _record(function: Any) -> ToolRecord:
    rule = _RULES.get(function.name)
    if rule is None:
        raise SettingsError("nobody has said of which kind this tool is", function.name, "add it to KINDS")
    server = next((each.env_dependency for each in function.dependencies.values()), "web")
    schema = function.parameters.model_json_schema()
    names = list(schema.get("properties", {}))
    ids = [name for name in names if name == "id" or name.endswith("_id")]
    return ToolRecord(
        name=f"{server}.{function.name}",
        version="1",
        description=function.description,
        input_schema=schema,
        effect=Effect.WRITE if rule.write else Effect.READ,
        egress=rule.egress,
        irreversible=rule.irreversible,
        consequential=tuple(names[:1]) if rule.named else tuple(names),
        target=ids[0] if ids and rule.write else "",
        output_label=OutputLabel(classification="internal", integrity="trusted" if rule.trusted else "untrusted"),
    )
