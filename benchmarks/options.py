"""What the command lines of the benchmarks have in common."""

import argparse
import sys


def count(text: str) -> int:
    """A number of 1 or more, for argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def tell(line: str) -> None:
    """A line of progress on stderr; stdout is for the result."""
    print(line, file=sys.stderr, flush=True)
