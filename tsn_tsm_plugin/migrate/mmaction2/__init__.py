"""Convert an MMAction2 config to a recipe."""
