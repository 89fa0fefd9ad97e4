"""Commands that look at data: `vit-keras data check` and `vit-keras data show`."""
