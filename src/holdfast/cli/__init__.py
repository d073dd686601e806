"""The command line; only this prints. `main` is the console script."""

import sys


def main() -> None:
    """Run `holdfast`: exit 0 when all is well, 1 when the policy says no, 2 on a usage or run error."""
    from holdfast.cli.app import app
    from holdfast.core.errors import HoldfastError

    try:
        app()
    except HoldfastError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)  # noqa: T201
        sys.exit(130)
