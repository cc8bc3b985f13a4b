"""What a caller is told of users: who they are themselves, and who else is in the directory."""

from runtime.gateway.messages import UserView, WhoView
from runtime.people import SYSTEM, People
from runtime.reading import Reach
from store.records.errors import SettingsError
from store.records.identity import User


def whoami(user: User, people: People) -> WhoView:
    """Whom the site takes a user for, and where that was learned: the owner of a runtime may be in no directory."""
    directory = people.now()
    return WhoView(
        name=user.name,
        uid=user.uid,
        tenant=user.tenant,
        unit=user.unit,
        groups=user.groups,
        roles=user.roles,
        mode=people.mode,
        source=SYSTEM if directory is None or directory.named(user.name) is None else people.source,
    )


def users(people: People, reach: Reach) -> list[UserView]:
    """The users of the directory within a caller's reach, by name. Raises SettingsError if there is no directory."""
    directory = people.now()
    if directory is None:
        raise SettingsError("this site has no directory", people.source, "name its file in the setting `directory`")
    known = [(person, directory.named(name)) for name, person in sorted(directory.people.items())]
    return [
        UserView(
            name=user.name,
            uid=person.uid,
            display=person.display,
            mail=person.mail,
            tenant=user.tenant,
            unit=user.unit,
            groups=user.groups,
            roles=user.roles,
        )
        for person, user in known
        if user is not None and reach.covers(user.tenant)
    ]
