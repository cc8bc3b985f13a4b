"""Whose files may decide what may be done: nobody's but this user's and root's, wherever a link leads."""

import os
from pathlib import Path

import pytest

from runtime.embedded import catalogs, inventory
from runtime.folders import only_ours
from store.records.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file in a folder in a folder, all of this user's."""
    path = tmp_path / "outer" / "inner" / "file"
    path.parent.mkdir(parents=True, mode=0o755)
    path.write_text("")
    path.chmod(0o644)
    return path


def test_a_file_that_others_may_read_is_ours(file: Path) -> None:
    assert only_ours(file) == file
    assert only_ours(file.parent) == file.parent
    file.parent.chmod(0o1777)  # with the sticky bit, nobody else can rename what is ours
    assert only_ours(file) == file


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o620, 0o602])
def test_what_its_group_or_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(SettingsError, match="others can write it"):
        only_ours(file)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_a_folder_that_decides_is_refused_if_others_may_add_to_it(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    with pytest.raises(SettingsError, match="others can write it"):
        only_ours(file.parent)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_file_in_a_folder_that_its_group_or_others_may_write_is_refused(file: Path, mode: int) -> None:
    file.parent.chmod(mode)
    with pytest.raises(SettingsError, match=r"exchange it in .*inner.*chmod go-w"):
        only_ours(file)


def test_a_folder_further_up_that_others_may_write_is_refused(file: Path) -> None:
    file.parent.parent.chmod(0o777)
    with pytest.raises(SettingsError, match=r"exchange it in .*outer"):
        only_ours(file)


def test_a_link_must_lie_and_lead_where_nobody_else_can_write(file: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir(mode=0o755)
    link = tmp_path / "links" / "link"
    link.symlink_to(file)
    assert only_ours(link) == link
    (tmp_path / "links").chmod(0o777)
    with pytest.raises(SettingsError, match="links"):
        only_ours(link)
    (tmp_path / "links").chmod(0o755)
    file.parent.chmod(0o777)
    with pytest.raises(SettingsError, match="inner"):
        only_ours(link)


@pytest.mark.parametrize("theirs", ["file", "folder"])
def test_what_belongs_to_another_user_is_refused(file: Path, theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(file if theirs == "file" else file.parent, 65534, 65534)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(SettingsError, match=r"another user|exchange it"):
        only_ours(file)


def test_what_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        only_ours(tmp_path / "none")


def test_tools_file_and_inventory_are_held_to_it(file: Path) -> None:
    file.chmod(0o660)
    with pytest.raises(SettingsError, match="others can write it"):
        catalogs([file])
    with pytest.raises(SettingsError, match="others can write it"):
        inventory(file)
