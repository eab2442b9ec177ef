"""Lets `python -m agent` be `sync-agent`."""

from agent.cli.commands import main

if __name__ == "__main__":
    main()
