"""Shows people in a browser how the agent is, from what the supervisor knows without asking."""
