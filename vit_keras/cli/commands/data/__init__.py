"""Commands about data: `vit-keras data check` and `vit-keras data show`."""
