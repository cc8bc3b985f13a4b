"""The book of tokens: what lets somebody in, what ends that, and that nothing brings it back."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.tokens.book import MOST_S, TokenBook
from store.ledger.database import KEYS
from store.records.errors import Denied, SettingsError
from store.records.event import Draft
from store.records.kinds import Kind

from .conftest import ANN, BOSS, EVE, Site


async def test_a_token_lets_its_user_in_as_they_are_now(site: Site) -> None:
    token = await site.token()
    assert site.book.bearer(token) == site.user("ann")
    site.write(ANN.replace(', "leads"', ""), BOSS, EVE)
    assert site.book.bearer(token).roles == ("requester",)


async def test_a_token_for_less_is_good_for_less(site: Site) -> None:
    token = await site.token(roles=("approver",))
    assert site.book.bearer(token).roles == ("approver",)
    site.write(ANN.replace(', "leads"', ""), BOSS, EVE)
    with pytest.raises(Denied, match="none of its roles any more"):
        site.book.bearer(token)


async def test_it_expires_to_the_second(site: Site) -> None:
    token = await site.token(expires_s=60)
    site.now += 59.9
    site.book.bearer(token)
    site.now += 0.1
    with pytest.raises(Denied, match="expired"):
        site.book.bearer(token)


async def test_a_clock_that_is_set_back_revives_no_token(site: Site) -> None:
    token = await site.token(expires_s=60)
    begun = site.now
    site.now += 61
    site.ledger.append(Draft(kind=Kind.NOTE, tenant="local", actor="core", actor_version="1"))
    site.now = begun
    with pytest.raises(Denied, match="expired"):
        site.book.bearer(token)
    site.ledger.append(Draft(kind=Kind.NOTE, tenant="local", actor="core", actor_version="1"))
    # and now the log says that the clock went back
    with pytest.raises(Denied, match="expired"):
        site.book.bearer(token)
    site.restart()
    assert site.ledger.events(kinds=[Kind.CLOCK_SET_BACK])
    with pytest.raises(Denied, match="expired"):
        site.book.bearer(token)
    site.book.bearer(await site.token(expires_s=60))  # one from after is good by the clock as it is


async def test_revoking_counts_at_once_and_after_a_restart(site: Site) -> None:
    token, other = await site.token(), await site.token()
    [view, _] = site.book.views(site.user("boss"))[::-1]
    assert await site.book.revoke(view.id[:6], site.user("ann")) == view.id  # one's own
    for _ in range(2):
        with pytest.raises(Denied, match="revoked"):
            site.book.bearer(token)
        assert site.book.bearer(other).name == "ann"
        assert [each.state for each in site.book.views(site.user("ann"))] == ["valid", "revoked"]
        site.restart()
    with pytest.raises(SettingsError, match="revoked already"):
        await site.book.revoke(view.id, site.user("boss"))


async def test_issuing_and_revoking_are_events_and_the_token_is_in_none(site: Site) -> None:
    token = await site.token()
    id = site.book.views(site.user("boss"))[0].id
    await site.book.revoke(id, site.user("boss"))
    with pytest.raises(Denied) as caught:
        site.book.bearer(token)
    assert id in str(caught.value)
    issued, revoked = site.ledger.events(kinds=[Kind.TOKEN_ISSUED, Kind.TOKEN_REVOKED])
    assert (issued.principal, issued.decision, issued.fingerprint) == ("boss", "ann", id)
    assert (revoked.principal, revoked.fingerprint, revoked.cause) == ("boss", id, issued.seq)
    signature = token.split(".")[2]
    site.ledger.close()
    for file in site.folder.rglob("*"):
        assert not file.is_file() or signature.encode() not in file.read_bytes(), file
    site.open()
    assert signature not in repr([site.ledger.payload(e.payload) for e in site.ledger.events() if e.payload])


async def test_who_is_gone_from_the_directory_has_no_use_for_a_token(site: Site) -> None:
    token = await site.token()
    site.write(BOSS, EVE)
    with pytest.raises(Denied, match="does not know the user 'ann'"):
        site.book.bearer(token)
    site.write(ANN.replace("61001", "61009"), BOSS, EVE)
    with pytest.raises(Denied, match="another person's"):
        site.book.bearer(token)


async def test_a_token_that_the_log_knows_nothing_of_is_none(site: Site) -> None:
    token = await site.token()
    forgetful = TokenBook(site.ledger, site.people)
    forgetful._all.clear()
    with pytest.raises(Denied, match="revoked"):
        forgetful.bearer(token)


async def test_a_restore_of_the_log_ends_the_tokens_from_before(site: Site) -> None:
    token = await site.token()
    site.ledger.append(Draft(kind=Kind.LEDGER_RESTORED, tenant="local", actor="core", actor_version="1")).wait()
    site.restart()
    with pytest.raises(Denied, match="revoked"):
        site.book.bearer(token)
    assert site.book.bearer(await site.token()).name == "ann"


async def test_only_an_admin_of_the_tenant_issues_and_only_what_can_be(site: Site) -> None:
    for by in (site.user("ann"), site.user("eve"), replace(site.user("boss"), roles=("requester",))):
        with pytest.raises(Denied, match="may not issue tokens for ann"):
            await site.book.issue("ann", 60, None, by)
    boss = site.user("boss")
    with pytest.raises(Denied, match="does not know the user 'nobody'"):
        await site.book.issue("nobody", 60, None, boss)
    with pytest.raises(SettingsError, match="ann does not have the role admin"):
        await site.book.issue("ann", 60, ("admin",), boss)
    for wrong in (0, -1, MOST_S + 1):
        with pytest.raises(SettingsError, match="at most 30 days"):
            await site.book.issue("ann", wrong, None, boss)
    assert not site.ledger.events(kinds=[Kind.TOKEN_ISSUED])


async def test_who_sees_and_ends_whose_tokens(site: Site) -> None:
    token = await site.token("boss")
    [view] = site.book.views(site.user("boss"))
    assert site.book.views(site.user("ann")) == site.book.views(site.user("eve")) == []
    for by in ("ann", "eve"):
        with pytest.raises(SettingsError, match="no such token of yours"):
            await site.book.revoke(view.id, site.user(by))
    auditor = replace(site.user("ann"), roles=("auditor",))
    assert site.book.views(auditor) == [view]
    with pytest.raises(Denied, match="may not revoke"):
        await site.book.revoke(view.id, auditor)
    assert token not in repr(view)


async def test_the_key_is_private_and_another_sites_token_is_none(site: Site, tmp_path: Path) -> None:
    token = await site.token()
    file = site.folder / KEYS / "token.key"
    assert file.stat().st_mode & 0o777 == 0o600
    (tmp_path / "elsewhere").mkdir()
    other = Site(tmp_path / "elsewhere" / "data")
    with pytest.raises(Denied, match="none of this site's"):
        other.book.bearer(token)
    await other.token()
    with pytest.raises(Denied, match="none of this site's"):
        other.book.bearer(token)
    other.ledger.close()
    site.ledger.close()
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="can be read by others"):
        site.open()
    file.chmod(0o600)
    os.sync()
    site.ledger.close()
    site.open()
