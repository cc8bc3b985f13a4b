"""Measures the engine beside llama.cpp's server on a GPU: `python -m benchmarks.gpu [--quick] [--json] [--out DIR]`.

With the default model, those given with --model, and one of the shape of an 8B model with random weights, which is
written into a temporary folder: speed does not depend on the weights. How fast each decodes is also told as a share of
what the memory's bandwidth allows (roofline.py). Without a GPU all of it runs on the CPU, with a tiny shape.

The peer is the `llama-server` given with --server, to be built from the sources of the same llama.cpp, or without that
the server in the wheel `xllamacpp`, as benchmarks/engine/__main__.py says. Run from the root of the checkout:

    .venv/bin/python -m benchmarks.gpu --server build/bin/llama-server --json

A table and its figures are written to benchmarks/results/. Nothing is built, and nothing is fetched.
"""

import argparse
import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.process import ContenderFailed
from benchmarks.gpu import bandwidth, cuda, peers, plan, report, subject
from benchmarks.gpu.measurement import Measurement
from benchmarks.gpu.shape import LLAMA_3_8B, TINY
from benchmarks.options import count, tell
from models.device import card as card_is_there
from models.model import describe
from models.registry import Registry
from store.records.errors import BailiwickError, SettingsError

RESULTS = Path(__file__).resolve().parents[1] / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark. The exit code is 0, or 2 with one line if something that it needs is not there."""
    options = _options().parse_args(arguments)
    try:
        _run(options)
    except (BailiwickError, ContenderFailed) as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    return 0


def _run(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.out.is_dir():
        raise SettingsError("this is not a folder", str(options.out), "give another --out")
    at_hand = _models(options.model)
    card, server = _accelerated(), str(options.server.resolve()) if options.server else ""
    peer = "none" if options.alone else peers.found(server, card)
    place = _place(options, card, peer)
    wanted = plan.plan(card, options.quick)
    against = () if options.alone else plan.peers(server, options.quick)
    measurement = Measurement(wanted, options.threads, place.bandwidth, tell)
    for model in at_hand:
        measurement.run(model, plan.ours(card), against)
    shape = LLAMA_3_8B if card else TINY
    tell(f"Writing a model of the {shape.name} with random weights.")
    with subject.random_weights(shape, at_hand[0].file) as model:
        measurement.run(model, plan.ours(card), against)
    _write(measurement, place, options)


def _models(files: Sequence[Path]) -> list[subject.Subject]:
    """The default model, and those that were asked for. Raises SettingsError or NotAModel for one that is no model."""
    # The folder is one that is not there: no site's own models, but the one that every set-up installs.
    models = [Registry(RESULTS / "no-site").get(), *(describe(file) for file in files)]
    for model in models:
        if model.kind != "chat":
            raise SettingsError("the model is not for chat", str(model.file), "give another --model")
    return [subject.at_hand(model.name, model.file) for model in models]


def _accelerated() -> bool:
    """Whether our engine has a GPU. Says so if there is one that it cannot use."""
    from models.engine.runner import accelerated

    if accelerated():
        return True
    if card_is_there():
        tell("There is a GPU, and this build of llama.cpp cannot use it: make setup ACCEL=cuda. The CPU is measured.")
    return False


def _place(options: argparse.Namespace, card: bool, peer: str) -> report.Place:
    given = options.bandwidth * 1e9
    settings = f"Greedy, {options.threads} threads, {'quick' if options.quick else 'full'}."
    if not card:
        device = f"{platform.machine()} with {os.cpu_count()} cores (no GPU: tiny shape)"
        return report.Place(card, device, bandwidth.of_processor(options.threads, given), peer, settings)
    try:
        device = cuda.name()
    except cuda.NoCuda:
        device = "a GPU that is not NVIDIA's"
    return report.Place(card, device, bandwidth.of_card(device, given), peer, settings)


def _write(measurement: Measurement, place: report.Place, options: argparse.Namespace) -> None:
    findings = measurement.findings
    text = report.markdown(findings, place)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "gpu.md").write_text(text, encoding="utf-8")
        (options.out / "gpu.json").write_text(report.figures(findings, place), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"the results cannot be written: {error.strerror}", str(options.out)) from error
    tell(text)
    if options.json:
        print(json.dumps(report.summary(findings, place), allow_nan=False))


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split(":")[0])
    parser.add_argument("--quick", action="store_true", help="two levels, in less than 3 minutes on two cores")
    parser.add_argument("--json", action="store_true", help="end with one line that is a JSON object")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for table and figures")
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--server", type=Path, metavar="FILE", help="llama.cpp's llama-server, with CUDA on a GPU")
    peer.add_argument("--alone", action="store_true", help="measure our engine without a peer")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], metavar="FILE", help="a chat model to measure as well"
    )
    parser.add_argument(
        "--bandwidth", type=_gigabytes, default=0.0, metavar="GB/s", help="of the device's memory, if not measured"
    )
    threads = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=count, default=threads, help="of each contender, on the CPU")
    return parser


def _gigabytes(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError("must be above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
