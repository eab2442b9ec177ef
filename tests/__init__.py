"""The tests, the services they start, and the demo."""
