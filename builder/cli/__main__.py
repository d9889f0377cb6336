"""`python -m builder.cli` is `kkb`."""

from builder.cli import main

if __name__ == "__main__":
    main()
