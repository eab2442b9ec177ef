"""Shows the agent at work between a business database, a front end and a broker of its own."""
