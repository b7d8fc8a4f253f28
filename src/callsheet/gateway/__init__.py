"""The gateway: an HTTP server that speaks the providers' dialects and queues calls fairly."""
