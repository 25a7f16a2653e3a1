"""The whole apps of docs/get-started.md, which a test compares with the page."""
