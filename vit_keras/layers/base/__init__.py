"""What all layers share: their base classes and the checks of their arguments and inputs."""
