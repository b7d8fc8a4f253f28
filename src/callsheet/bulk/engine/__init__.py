"""The actors of a bulk run, and the state machines that decide for them."""
