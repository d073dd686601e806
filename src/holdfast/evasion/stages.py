"""Attacks made of attacks: run one on some rows under a name, and learn which rows still stand."""

from collections.abc import Generator
from dataclasses import replace

from torch import Tensor

from holdfast.core.kinds import Candidate, Search
from holdfast.ops.rows import take


def follow(
    search: Search, rows: Tensor, stage: str, *, pooled: bool = False
) -> Generator[Candidate, Tensor | None, Tensor]:
    """Pass on what `search` proposes for `rows` (n,), and what the engine still wants.

    Args:
        search: an attack, just begun, on the inputs that `rows` stand for.
        rows: positions of its inputs.
        stage: name for its candidates.
        pooled: whether the candidates must say which rows they are for.

    Returns:
        The rows that still stand.
    """
    keep: Tensor | None = None
    try:
        while True:
            candidate = search.send(keep)
            if keep is not None and len(candidate.x) == len(keep):  # it dropped the others
                rows = take(keep, rows)[0]
            named = replace(candidate, stage=stage, rows=rows if pooled else None)
            keep = yield named
    except StopIteration:
        return take(keep, rows)[0]  # type: ignore[no-any-return]  # rows are a tensor
    finally:
        search.close()
