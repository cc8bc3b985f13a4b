"""The model with random weights: it is of its shape, loads in the real engine, and never ends an answer."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from benchmarks.gpu import random_model, roofline, subject
from benchmarks.gpu.bandwidth import Bandwidth
from benchmarks.gpu.measurement import Measurement
from benchmarks.gpu.plan import Plan, ours
from benchmarks.gpu.shape import LLAMA_3_8B, TINY, Shape
from models.engine.engine import Engine
from models.model import Model, describe
from models.registry import Registry
from models.request import Message, Request
from store.records.errors import SettingsError

SMALL = replace(TINY, layers=1, width=64, inner=128, heads=2, kv_heads=1, vocabulary=50_000)


@pytest.fixture(scope="module")
def donor(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The model whose tokenizer is copied."""
    return Registry(tmp_path_factory.mktemp("site")).get()


@pytest.fixture(scope="module")
def tiny(donor: Model) -> Iterator[subject.Subject]:
    """The tiny shape, as a run without a GPU measures it."""
    with subject.random_weights(TINY, donor.file) as written:
        yield written


def test_the_shape_of_8b_has_as_many_weights_as_llama_3_8b() -> None:
    norms = (2 * LLAMA_3_8B.layers + 1) * LLAMA_3_8B.width
    assert LLAMA_3_8B.matrix_bytes(128_256) // 2 + norms == 8_030_261_248


def test_the_file_is_a_chat_model_of_its_shape(tiny: subject.Subject, donor: Model) -> None:
    model = describe(tiny.file)
    assert (model.kind, model.architecture, model.template) == ("chat", "llama", donor.template)
    assert (model.layers, model.width, model.vocabulary, model.context) == (4, 256, 49_152, 8192)
    assert model.parameters == TINY.matrix_bytes(49_152) // 2 + 9 * 256


def test_matrices_have_16_bits_and_norms_32(tiny: subject.Subject) -> None:
    tensors = gguf.GGUFReader(tiny.file).tensors
    assert {(len(tensor.shape), tensor.tensor_type.name) for tensor in tensors} == {(1, "F32"), (2, "F16")}
    assert len(tensors) == 3 + 9 * TINY.layers


def test_weights_are_numbers_and_no_two_rows_or_matrices_are_the_same(tiny: subject.Subject) -> None:
    tensors = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tiny.file).tensors}
    embeddings = tensors["token_embd.weight"]
    assert np.isfinite(embeddings).all()
    assert len(np.unique(embeddings, axis=0)) == 49_152
    assert not np.array_equal(tensors["blk.0.ffn_up.weight"], tensors["blk.0.ffn_gate.weight"])
    assert not np.array_equal(tensors["blk.0.ffn_up.weight"], tensors["blk.1.ffn_up.weight"])


def test_control_tokens_have_no_logit(tiny: subject.Subject, donor: Model) -> None:
    output = next(tensor for tensor in gguf.GGUFReader(tiny.file).tensors if tensor.name == "output.weight").data
    silent = np.flatnonzero(~output.any(axis=1))
    assert tuple(silent) == subject.at_hand("donor", donor.file).banned
    assert len(silent) == 17


@pytest.mark.parametrize("shape", [TINY, SMALL])
def test_the_engine_writes_as_many_tokens_as_asked_for(shape: Shape, donor: Model, tmp_path: Path) -> None:
    file = tmp_path / "random.gguf"
    random_model.write(shape, donor.file, file)
    model = describe(file)
    assert model.vocabulary == (shape.vocabulary or donor.vocabulary)
    engine = Engine.load(model, n_ctx=512, slots=2, n_threads=1, speculate=False)
    try:
        requests = [Request((Message("user", text),), max_tokens=40) for text in ("Say something.", "And now?")]
        done = [future.result() for future in [engine.submit(request) for request in requests]]
    finally:
        engine.close()
    assert [(each.sampled_tokens, each.stop) for each in done] == [(40, "length")] * 2


def test_a_shape_with_too_few_tokens_is_refused(donor: Model, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="1000 tokens, fewer than 49152"):
        random_model.write(replace(TINY, vocabulary=1000), donor.file, tmp_path / "random.gguf")


def test_a_model_that_the_disk_cannot_hold_is_refused_before_anything_is_written(donor: Model, tmp_path: Path) -> None:
    file = tmp_path / "random.gguf"
    with pytest.raises(SettingsError, match=r"GB are free.*TMPDIR"):
        random_model.write(replace(LLAMA_3_8B, layers=10**9), donor.file, file)
    assert not file.exists()


def test_the_folder_is_removed_whatever_happens(donor: Model) -> None:
    def fail(file: Path) -> None:
        assert file.is_file()
        raise RuntimeError(str(file.parent))

    with pytest.raises(RuntimeError) as caught, subject.random_weights(SMALL, donor.file) as written:
        fail(written.file)
    assert "bailiwick-gpu-" in str(caught.value)
    assert not Path(str(caught.value)).exists()


def test_what_a_step_reads_of_the_tiny_shape(tiny: subject.Subject) -> None:
    traffic = roofline.read(tiny.file)
    layer = 2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256
    norms = 9 * 256 * 4
    assert traffic.weights == 2 * (4 * layer + 49_152 * 256) + norms
    # 4 layers, 2 heads of keys and of values, 64 numbers each, 2 bytes a number.
    assert traffic.token == 4 * 2 * 2 * 64 * 2


def test_embeddings_that_are_the_output_as_well_are_read(donor: Model) -> None:
    traffic = roofline.read(donor.file)
    assert traffic.weights == sum(int(tensor.n_bytes) for tensor in gguf.GGUFReader(donor.file).tensors)
    assert traffic.token == 30 * 2 * 3 * 64 * 2


def test_a_level_is_measured_and_decoding_computes_no_prompt_again(tiny: subject.Subject) -> None:
    plan = Plan((1, 2), prompt=32, answer=6, lone=2)
    measurement = Measurement(plan, 1, Bandwidth(1e10, "given"), lambda _: None)
    measurement.run(tiny, ours(card=False), ())
    one, two = measurement.findings.rows
    assert (one.concurrency, one.requests, two.concurrency, two.requests) == (1, 4, 2, 4)
    for row in (one, two):
        assert (row.failed, row.recomputed) == (0, 0)
        assert row.decode_per_s > 0
        assert row.prompt_per_s > 0
        steps_per_s = row.decode_per_s / row.concurrency
        assert row.roofline_share == pytest.approx(row.step_bytes * steps_per_s / 1e10)
