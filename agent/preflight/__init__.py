"""Before the service runs: `init` makes what it needs, `check` finds what is missing."""
