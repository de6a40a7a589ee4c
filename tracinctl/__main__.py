"""``python -m tracinctl``."""

from tracinctl.cli.app import main

main()
