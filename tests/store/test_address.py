"""Which addresses are the machine's own: only those that no name server has a say in."""

import pytest

from store.records.address import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.7.6", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
def test_numbers_that_mean_the_machine_itself(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost",
        "localhost.example",
        "127.1",
        "127.example.org",
        "127.0.0.1.example.org",
        "127.0.0.1%lo",
        " 127.0.0.1",
        "[::1]",
        "2130706433",
        "0177.0.0.1",
        "0.0.0.0",
        "::",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "::2",
    ],
)
def test_names_other_machines_and_what_a_resolver_might_take_for_a_number(host: str) -> None:
    assert not is_loopback(host)
