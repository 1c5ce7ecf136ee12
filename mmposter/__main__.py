"""The program: `mmposter`, and `python -m mmposter`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is still being loaded ends with 130 too, and no traceback."""
    try:
        from mmposter.siblings import explained, foreign_packages

        if foreign := foreign_packages():
            sys.exit(_say(explained(foreign)))
        from mmposter.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


def _say(problem: str) -> int:
    """Say on standard error what is wrong with this installation, which leaves no command but this answer."""
    from mmposter.runs.provenance import package_version
    from mmposter.visible import visible_lines

    print(visible_lines(f"error: {problem}"), file=sys.stderr)
    if sys.argv[1:2] == ["doctor"]:
        print(f"mmposter {package_version()}, Python {sys.version.split()[0]} at {sys.executable}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
