"""`python -m mmposter`."""

from mmposter.cli import main

if __name__ == "__main__":
    main()
