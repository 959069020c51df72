"""Work in as few parts as the GPU's memory allows: halved until a part fits, and refused where not even one series does."""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import torch

from pipeline.errors import ModelError

Found = TypeVar("Found")


def in_parts(
    work: Callable[[int], Found], *, halved: int, most: int, tell: Callable[[int], None], refusal: str
) -> tuple[Found, int]:
    """What some work gives, done in 2^halved parts, or in twice as many each time that the memory does not suffice.

    Args:
        work: does all of it in so many parts; begins anew each time.
        halved: how often its parts were halved before.
        most: parts of which each is a single series.
        tell: told the number of parts, once per halving.
        refusal: what to say where a single series does not fit.

    Returns:
        What the work gave, and how often its parts are halved now.

    Raises:
        ModelError: a single series does not fit.
    """
    while True:
        try:
            return work(2**halved), halved
        except torch.OutOfMemoryError as error:
            # its frames hold the tensors that did not fit
            failed = error.with_traceback(None)
        if 2**halved >= most:
            raise ModelError(refusal) from failed
        halved += 1
        torch.cuda.empty_cache()
        tell(2**halved)


def slices(size: int, parts: int) -> list[slice]:
    """So many slices of so many rows, as even as can be and none of them empty."""
    bounds = sorted({size * number // parts for number in range(parts + 1)})
    return [slice(start, end) for start, end in pairwise(bounds)]
