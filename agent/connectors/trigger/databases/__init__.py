"""How each database notes changes: one module each."""
