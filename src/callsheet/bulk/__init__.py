"""A file of requests, and a file of answers: every row once, whatever happens in between."""
