"""Errors a caller can act on: each message says what was wrong, what was got and how to mend it.

HoldfastError
├── InputError          a file, an array, a setting or a name that cannot be used
│   └── UnsafeModel     a model file that could run code when loaded
├── MissingExtra        an optional dependency is not installed
├── TargetError         the model failed or stopped answering
├── QueriesSpent        the attacker's allowance is used up (the engine keeps the best so far)
└── NotApplicable       a check that cannot be run here; reported, never counted as passed
    └── NeedsError      the target does not offer the access that the method needs

Anything else is a bug and keeps its traceback.
"""


class HoldfastError(Exception):
    """Base class of everything a user can mend."""


class InputError(HoldfastError):
    """Something that was given cannot be used."""

    def __init__(self, what: str, *, got: object, fix: str) -> None:
        super().__init__(f"{what}: got {got}; {fix}")


class UnsafeModel(InputError):
    """A model file that could run code when it is loaded."""


class MissingExtra(HoldfastError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; pip install 'holdfast[{extra}]' ('.[{extra}]' in a checkout)"
        )


class TargetError(HoldfastError):
    """The model could not be reached, or answered what no model may answer."""

    def __init__(self, what: str, *, got: object, fix: str) -> None:
        super().__init__(f"{what}: got {got}; {fix}")


class QueriesSpent(HoldfastError):
    """The attacker's query allowance is used up."""


class NotApplicable(HoldfastError):
    """The check cannot be run on this model or data; the message is the reason that is reported."""


class NeedsError(NotApplicable):
    """The target does not offer the access that the method needs."""
