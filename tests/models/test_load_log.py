"""What is read out of llama.cpp's lines; those of a GPU as a build with CUDA writes them."""

from models.engine.load_log import ERROR, LoadLog

MIB = 2**20
INFO = 2


def taken(*lines: str) -> LoadLog:
    log = LoadLog()
    log.start(debug=False)
    for line in lines:
        log.take(INFO, line)
    return log


def test_layers_and_bytes_are_those_of_the_device_and_of_the_host() -> None:
    log = taken(
        "load_tensors: offloaded 24/25 layers to GPU\n",
        "load_tensors:   CPU_Mapped model buffer size =   136.00 MiB\n",
        "load_tensors:        CUDA0 model buffer size =   373.50 MiB\n",
        "llama_kv_cache:      CUDA0 KV buffer size =    96.00 MiB\n",
        "llama_context:  CUDA_Host  output buffer size =     0.50 MiB\n",
        "sched_reserve:      CUDA0 compute buffer size =    12.25 MiB\n",
    )
    assert log.offloaded == 24
    assert log.device_bytes == round((373.5 + 96 + 12.25) * MIB)
    assert log.host_bytes == round((136 + 0.5) * MIB)


def test_what_a_file_says_of_itself_is_not_taken_for_what_was_done() -> None:
    log = taken(
        "llama_model_loader: - kv   1: general.name str = offloaded 33/33 layers to GPU\n",
        "print_info: general.name = CUDA0 model buffer size = 99999 MiB\n",
        "print_info: general.name = load_tensors: offloaded 33/33 layers to GPU\n",
        "print_info: " + "x" * 1_000_000 + "\n",
    )
    assert (log.offloaded, log.device_bytes, log.host_bytes) == (0, 0, 0)


def test_the_reason_is_the_first_complaint_without_its_function() -> None:
    log = taken("llama_model_load: all is well\n")
    assert log.reason() == "no reason given"
    log.take(ERROR, "gguf_init_from_file_impl: invalid magic characters: 'abcd'\n")
    log.take(ERROR, "llama_model_load: error loading model\n")
    assert log.reason() == "invalid magic characters: 'abcd'"


def test_the_next_load_starts_with_nothing() -> None:
    log = taken("load_tensors: offloaded 24/25 layers to GPU", "x:  CPU compute buffer size = 1.00 MiB")
    log.take(ERROR, "f: it failed")
    log.start(debug=False)
    assert (log.offloaded, log.host_bytes, log.device_bytes, log.reason()) == (0, 0, 0, "no reason given")
