"""The parts of `github` that speak its REST API: client, login, shelf, walk, items, and webhook events."""
