"""Methods that a runner needs beside the one it runs, by catalogue id."""

from typing import Any

from holdfast.core.errors import NotApplicable
from holdfast.core.method import REGISTRY


def registered(id_: str) -> Any:
    """The class of a method that was loaded; runners may not import the domains themselves.

    Returns Any, as the kind of a method is only known at run time.

    Raises:
        NotApplicable: it was not loaded; `catalogue.load(id_)` does that.
    """
    if id_ not in REGISTRY:
        raise NotApplicable(f"is judged with {id_}, which is not loaded")
    return REGISTRY[id_].cls
