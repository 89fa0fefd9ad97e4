"""Commands about runs of several processes: `vit-keras launch`."""
