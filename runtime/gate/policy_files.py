"""Where policies come from: a shipped set, a folder, or single files; and where in a file each policy stands.

Text only: nothing here knows what a policy means.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.folders import only_ours
from store.records.errors import SettingsError

SETS = ("strict", "lab")
SHEETS = (".test.toml", ".test.json")
"""How the names of files with a set's own tests end."""
_SHIPPED = Path(__file__).parent / "policies"


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A file of policies: the path as a person would give it, and its text."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Statement:
    """The text of one policy and where it begins, as `file:line`."""

    text: str
    where: str


def policy_files(source: str | Path | Sequence[Path]) -> tuple[PolicyFile, ...]:
    """The files of a shipped set (by name), of a folder (its *.cedar), or those given; sorted by path.

    Raises SettingsError if there is none, or if one cannot be read or is not UTF-8, or if somebody else could have
    written one or added one to the folder. A shipped set is trusted as the code beside it is.
    """
    if isinstance(source, str) and source in SETS:
        return tuple(_read(path) for path in sorted((_SHIPPED / source).glob("*.cedar")))
    source = _expand(Path(source)) if isinstance(source, str | Path) else [only_ours(path) for path in source]
    if not source:
        raise SettingsError("no policy files were given", do=f"name a set ({', '.join(SETS)}), a folder or files")
    return tuple(_read(path) for path in sorted(source))


def sheet_files(source: str | Path) -> tuple[PolicyFile, ...]:
    """The files with a set's own tests, sorted by path: all beside the policies of a shipped set or folder; beside a
    single file, those of its name. Raises SettingsError as `policy_files`."""
    if source in SETS:
        return tuple(_read(path) for path in _sheets(_SHIPPED / source))
    path = Path(source)
    folder, beginning = (path, "") if path.is_dir() else (path.parent, f"{path.name.removesuffix('.cedar')}.")
    return tuple(_read(only_ours(each)) for each in _sheets(folder) if each.name.startswith(beginning))


def _sheets(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.test.*") if path.name.endswith(SHEETS))


def statements(file: PolicyFile) -> Iterator[Statement]:
    """The policies in a file. What follows the last semicolon counts as one, so that nothing is dropped in silence."""
    start, line = 0, 1
    for end in (*_semicolons(file.text), len(file.text)):
        text = file.text[start:end]
        skipped = _blank(text)
        if skipped < len(text):
            yield Statement(text[skipped:], f"{file.path}:{line + text.count(chr(10), 0, skipped)}")
        line += text.count("\n")
        start = end


def _expand(path: Path) -> list[Path]:
    if not path.exists():
        raise SettingsError(
            "there is no such policy set, folder or file", str(path), f"shipped sets are {', '.join(SETS)}"
        )
    only_ours(path)
    if path.is_file():
        return [path]
    found = [only_ours(file) for file in path.glob("*.cedar")]
    if not found:
        raise SettingsError("the folder holds no *.cedar file", str(path), "put policies there or name another folder")
    return found


def _read(path: Path) -> PolicyFile:
    try:
        return PolicyFile(str(path), path.read_bytes().decode())
    except OSError as error:
        raise SettingsError("the policy file cannot be read", str(path), error.strerror or "") from None
    except UnicodeDecodeError:
        raise SettingsError("the policy file is not UTF-8 text", str(path), "save it as UTF-8") from None


def _semicolons(text: str) -> Iterator[int]:
    """The offset after each semicolon outside comments and strings; Cedar ends every policy with one."""
    at = 0
    while at < len(text):
        if text.startswith("//", at):
            at = _line_end(text, at)
        elif text[at] == '"':
            at = _string_end(text, at)
        else:
            at += 1
            if text[at - 1] == ";":
                yield at


def _blank(text: str) -> int:
    """How many characters of blanks and comments the text begins with."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text.startswith("//", at):
            at = _line_end(text, at)
        else:
            break
    return at


def _line_end(text: str, at: int) -> int:
    """Cedar ends a comment at a carriage return as well; to miss that would be to take a policy for a comment."""
    while at < len(text) and text[at] not in "\r\n":
        at += 1
    return at


def _string_end(text: str, at: int) -> int:
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return at + 1
