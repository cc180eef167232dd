"""Training and evaluation of objects that others built: nothing here knows an architecture, a loader or a recipe."""
