"""What both ends of a connection share: framed streams, reconnecting, discovery."""
