"""Real servers for the tests and the demo, each started on loopback and gone with the process that started it."""
