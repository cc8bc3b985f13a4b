"""No GGUF ends the process that serves models: what llama.cpp cannot load or compute is refused, with the reason.

Each file is a whole small llama but for one lie; the numbers of those that llama.cpp crashes on were found by trying.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from models import trial
from models.errors import NotAModel
from models.model import describe
from models.registry import Registry
from models.request import Request
from models.server import ModelServer
from models.trial import prove
from tests.models.tiny_llama import TOKENS, write

Change = Callable[[dict[str, Any], dict[str, Any]], None]


def says(**keys: Any) -> Change:
    """Metadata of the llama with other values; two underscores are a dot."""
    return lambda known, _: known.update({f"llama.{name.replace('__', '.')}": value for name, value in keys.items()})


def vocabulary(**keys: Any) -> Change:
    """Other metadata of the tokenizer."""
    return lambda known, _: known.update({f"tokenizer.ggml.{name}": value for name, value in keys.items()})


def holds(name: str, shape: tuple[int, ...]) -> Change:
    """A tensor of another shape."""
    return lambda _, tensors: tensors.update({name: np.zeros(shape, np.float32)})


def cast(name: str, kind: Any) -> Change:
    """A tensor of another type."""
    return lambda _, tensors: tensors.update({name: tensors[name].astype(kind)})


Q = "blk.0.attn_q.weight"


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_whole_model_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    model = describe(write(tmp_path / "whole.gguf", cast(Q, kind)))
    prove(model, tmp_path / "marks")
    monkeypatch.setattr(trial.subprocess, "run", lambda *_, **__: pytest.fail("it was tried again"))
    prove(model, tmp_path / "marks")


def test_each_number_of_layers_on_the_gpu_is_tried(tmp_path: Path) -> None:
    model = describe(write(tmp_path / "whole.gguf"))
    for layers in (-1, 1, 1, 0):
        prove(model, tmp_path / "marks", gpu_layers=layers)
    assert len(list((tmp_path / "marks").iterdir())) == 3


def test_the_child_is_given_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []
    run = trial.subprocess.run

    def watched(*words: Any, **settings: Any) -> Any:
        given.append(settings["env"])
        return run(*words, **settings)

    monkeypatch.setattr(trial.subprocess, "run", watched)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/a/token")
    monkeypatch.setenv("OTHER_API_KEY", "secret")
    prove(describe(write(tmp_path / "whole.gguf")), tmp_path / "marks")
    assert len(given) == 1
    assert not {"RAY_AUTH_TOKEN_PATH", "OTHER_API_KEY"} & given[0].keys()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(cast("output_norm.weight", np.float16), "SIGABRT", id="norm in 16 bits"),
        pytest.param(cast(Q, np.int32), "SIGSEGV", id="matrix of integers"),
        pytest.param(says(block_count=100_000), "SIGABRT", id="absurd layers"),
        pytest.param(says(block_count=3), "not found", id="layers that are not there"),
        pytest.param(says(attention__head_count=0), "wrong shape", id="no heads"),
        pytest.param(says(attention__head_count_kv=8), "wrong shape", id="more heads for keys than for queries"),
        pytest.param(
            says(attention__head_count=64, attention__head_count_kv=32, rope__dimension_count=1),
            "SIGABRT",
            id="heads of one number",
        ),
        pytest.param(says(attention__layer_norm_rms_epsilon=-1.0), "SIGABRT", id="negative epsilon"),
        pytest.param(says(expert_count=4, expert_used_count=8), "SIGABRT", id="more experts used than there are"),
        pytest.param(says(rope__scaling__type="nix"), "SIGABRT", id="unknown scaling"),
        pytest.param(holds("token_embd.weight", (len(TOKENS) - 9, 64)), "wrong shape", id="fewer rows than tokens"),
        pytest.param(holds(Q, (64, 32)), "wrong shape", id="shape unlike the metadata"),
        pytest.param(vocabulary(scores=["x"] * len(TOKENS)), "invalid gguf type", id="scores of texts"),
        pytest.param(vocabulary(token_type=[1, 1, 1]), "out of array bounds", id="too few types of tokens"),
        pytest.param(vocabulary(tokens=["a"] * len(TOKENS)), "SIGABRT", id="the same token over and over"),
        pytest.param(vocabulary(model="bert"), "SIGABRT", id="another tokenizer's vocabulary"),
        pytest.param(vocabulary(model="rwkv"), "cannot be used", id="a vocabulary that no grammar can use"),
    ],
)
def test_a_file_that_llama_cpp_cannot_use_is_refused_with_the_reason(
    tmp_path: Path, change: Change, reason: str
) -> None:
    model = describe(write(tmp_path / "odd.gguf", change))
    for _ in range(2):  # a refusal leaves no mark
        with pytest.raises(NotAModel, match=reason):
            prove(model, tmp_path / "marks")


@pytest.mark.parametrize("kind", [np.float64, np.int8, np.int16, np.int64])
def test_a_tensor_of_a_type_that_only_stores_is_refused_unread(tmp_path: Path, kind: Any) -> None:
    name = {np.float64: "F64", np.int8: "I8", np.int16: "I16", np.int64: "I64"}[kind]
    with pytest.raises(NotAModel, match=f"{Q} is of type {name}, with which llama.cpp cannot compute"):
        describe(write(tmp_path / "odd.gguf", cast(Q, kind)))


def test_a_quantized_block_that_only_stores_is_refused_unread(tmp_path: Path) -> None:
    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_1]
    data = np.zeros((64, 64 // block * size), np.uint8)
    change: Change = lambda _, tensors: tensors.update({Q: (data, gguf.GGMLQuantizationType.Q8_1)})  # noqa: E731
    with pytest.raises(NotAModel, match="Q8_1"):
        describe(write(tmp_path / "odd.gguf", change))


def test_cut_weights_are_refused_unread(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:-100])
    with pytest.raises(NotAModel, match="truncated"):
        describe(tmp_path / "cut.gguf")


def test_a_file_that_hangs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "LONGEST_S", 0.001)
    with pytest.raises(NotAModel, match="does not load and answer"):
        prove(describe(write(tmp_path / "slow.gguf")), tmp_path / "marks")


def test_the_server_outlives_a_file_that_llama_cpp_does_not(
    tmp_path: Path, ask: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Registry(tmp_path / "site")
    site.add(write(tmp_path / "odd.gguf", cast("output_norm.weight", np.float16)), "odd")
    site.add(write(tmp_path / "whole.gguf"), "whole")
    server = ModelServer(site, "whole")
    with pytest.raises(NotAModel, match=r"llama\.cpp ends its process on this file"):
        server.generate(replace(ask("abc"), model="odd", max_tokens=2))
    assert server.generate(ask("abc", max_tokens=2)).sampled_tokens > 0
    server.close()
