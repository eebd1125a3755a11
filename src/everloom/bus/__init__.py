"""Wake-up calls between the parts of one server, across its processes."""
