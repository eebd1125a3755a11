"""The HTTP floor: routes, bodies, forms, keys, answers. Knows no tag."""
