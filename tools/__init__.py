"""Tools of those who build the product: the locked packages, the bill of materials, the catalogue of messages."""
