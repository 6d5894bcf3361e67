"""Scene graphs over HTTP: batching, limits, and what is refused. The command is `r1sgg serve`."""
