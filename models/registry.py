"""The registry: which models there are, where they lie, and which one is used unless another is asked for.

Two layers: the models that set-up installed (`<sys.prefix>/share/bailiwick/models`, never changed here) and the
site's own. A site's model wins over a shipped one of the same name. The registry never loads a model.
"""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

from models.model import Kind, Model, check_name, describe, name_of
from models.shelf import Shelf
from store.records.errors import SettingsError

SHIPPED = Path(sys.prefix) / "share" / "bailiwick" / "models"


class Registry:
    """The models of a site. `site` is the folder of the site's own registry; it is made when first written."""

    def __init__(self, site: Path, shipped: Path = SHIPPED) -> None:
        self._site = Shelf(site)
        self._shipped = Shelf(shipped, shipped=True)

    @property
    def marks(self) -> Path:
        """The folder for what models/trial.py has found."""
        return self._site.folder / "tried"

    def list(self) -> tuple[Model, ...]:
        """All models, by name. Raises SettingsError if a registry file is damaged."""
        return tuple(model for _, model in sorted(self._all().items()))

    def default(self, kind: Kind = "chat") -> str:
        """The name of the model used when none is named, or an empty text if there is none of this kind."""
        models = self._all()
        for shelf in (self._site, self._shipped):
            name = shelf.read().defaults.get(kind, "")
            if name in models and models[name].kind == kind:
                return name
        return next((name for name, model in sorted(models.items()) if model.kind == kind), "")

    def get(self, name: str = "", kind: Kind = "chat") -> Model:
        """The model called `name`, or the default of its kind. Raises SettingsError if there is none."""
        models = self._all()
        name = name or self.default(kind)
        if not name:
            raise SettingsError(
                f"there is no {kind} model", "", "install the default models with `make setup`, or add a GGUF file"
            )
        model = models.get(name)
        if model is None:
            raise self._unknown(name)
        if model.kind != kind:
            raise SettingsError(f"the model is for {model.kind}, not for {kind}", name, "see: bailiwick models list")
        return model

    def add(self, file: Path, name: str = "", licence: str = "", *, copy: bool = False) -> Model:
        """Records a GGUF file with its sha256; the file stays where it is unless `copy` asks for one in the folder.

        Adding the same file under the same name again changes nothing. Raises SettingsError if there is no such file,
        the name is taken, or the folder cannot be written; NotAModel if the file is no model.
        """
        model = describe(file, name or name_of(file), licence)
        with self._site.changing() as stock:
            present = stock.models.get(model.name)
            if present is not None and present.sha256 != model.sha256:
                raise SettingsError(
                    "another model has this name", model.name, "give a --name, or remove the other model first"
                )
            stock.models[model.name] = model = self._copied(model) if copy else model
        return model

    def use(self, name: str) -> Model:
        """Makes a model the site's default of its kind. Raises SettingsError if there is none of this name."""
        with self._site.changing() as stock:
            model = self._named(name)
            stock.defaults[model.kind] = name
        return model

    def verify(self, name: str) -> Model:
        """Recomputes a model's sha256. Raises IntegrityError if it is not the recorded one."""
        model = self._named(name)
        model.verify()
        return model

    def remove(self, name: str) -> Model:
        """Forgets a site's model; deletes its file only if the registry made that copy.

        Raises SettingsError if there is none of this name, or it is a shipped one.
        """
        with self._site.changing() as stock:
            if name not in stock.models:
                self._named(name)
                raise SettingsError("a shipped model cannot be removed", name, "use another: bailiwick models use NAME")
            model = stock.models.pop(name)
            stock.defaults = {kind: default for kind, default in stock.defaults.items() if default != name}
        if model.file.parent == self._site.folder:
            with self._site.writable():
                model.file.unlink(missing_ok=True)
        return model

    def _copied(self, model: Model) -> Model:
        """The model, recorded with a copy of its file in the site's folder; the copy is verified before it counts."""
        target = self._site.folder / f"{model.name}.gguf"
        if model.file == target:
            return model
        with self._site.replacing(target) as temporary:
            shutil.copyfile(model.file, temporary)
            replace(model, file=temporary).verify()
        return replace(model, file=target)

    def _all(self) -> dict[str, Model]:
        return {**self._shipped.read().models, **self._site.read().models}

    def _named(self, name: str) -> Model:
        model = self._all().get(check_name(name))
        if model is None:
            raise self._unknown(name)
        return model

    def _unknown(self, name: str) -> SettingsError:
        known = ", ".join(model.name for model in self.list()) or "none"
        return SettingsError(f"there is no model of this name; known are: {known}", name[:80], "add a GGUF file first")
