"""The command line; only this prints. `main` is the console script."""


def main() -> None:
    """Run `holdfast`: exit 0 when all is well, 1 when the policy says no, 2 on a usage or run error.

    An interrupted command exits 130, as shells expect.
    """
    from holdfast.cli.app import app

    app()
