"""Mail: letters of this server to people."""
