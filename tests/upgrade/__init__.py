"""What a released version has left, and how this one goes on from it."""
