"""The browser of the page tests."""

from ..browser import browser_page, chromium  # noqa: F401
