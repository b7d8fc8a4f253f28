"""The entry of the command line: `callsheet`, and `python -m callsheet`.

This module imports nothing at its top, so that Ctrl-C is handled before anything else is loaded.
"""


def main() -> None:
    """Run the command line, and exit with its status."""
    try:
        from .interrupts import exit_on_interrupt, ignore_interrupts  # noqa: PLC0415  # see above

        exit_on_interrupt()
        from .cli.entry import run_command_line  # noqa: PLC0415  # see above

        status = run_command_line()
        ignore_interrupts()  # the process only exits
    except KeyboardInterrupt:
        import os  # noqa: PLC0415  # see above

        os.write(2, b"Interrupted.\n")
        os._exit(130)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
