"""`python -m callsheet` is `callsheet`."""

from .cli import main

if __name__ == "__main__":
    main()
