"""What the product is made of: the locked packages, whether one is known to be vulnerable, and the bill of materials."""
