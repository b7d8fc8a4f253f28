"""Tables: what a result looks like as columns, and the files that it is written to."""
