"""One run: what reads rows, asks for them, and keeps what came."""
