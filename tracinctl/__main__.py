"""The entry of ``tracinctl`` and ``python -m tracinctl``. It imports the program only after it handles Ctrl-C."""

import sys


def main() -> None:
    """Run ``tracinctl``."""
    try:
        from tracinctl.cli.app import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("warning: interrupted\n  Nothing was written.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
