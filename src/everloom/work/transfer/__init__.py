"""Objects that come from elsewhere, with their ids and times, and objects that leave as they are."""
