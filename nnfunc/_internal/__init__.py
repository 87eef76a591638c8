"""What the rooms of the package share and nobody else needs: checks of arguments, numerics, text."""
