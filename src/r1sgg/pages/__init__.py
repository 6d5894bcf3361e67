"""HTML pages: the report with its error browser, the data pages, the web demo."""
