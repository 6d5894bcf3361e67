"""Scene graphs over HTTP: dynamic batching, limits, and what is refused. The command is `r1sgg serve`."""
