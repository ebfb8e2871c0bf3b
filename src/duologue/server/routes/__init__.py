"""One file for each group of routes. Each has a `router`; app.py joins them."""
