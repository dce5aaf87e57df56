"""`python -m focusvla` is `focusvla`."""

from focusvla.cli import main

if __name__ == "__main__":
    main()
