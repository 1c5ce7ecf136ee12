"""The program: `mmposter`, and `python -m mmposter`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends with 130 too, and no traceback."""
    try:
        from mmposter.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
