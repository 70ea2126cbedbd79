"""Where what is durable lives, behind one protocol."""
