"""Files of models: where they come from, what format they have, what they will take."""
