"""The compiled modules do what the pure ones do."""
