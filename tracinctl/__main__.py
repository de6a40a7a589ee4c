"""The program's entry: ``tracinctl`` and ``python -m tracinctl``. Nothing else is imported before Ctrl-C is heeded."""

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
