"""Training on several devices and hosts: the processes of a launch, their devices, and what they agree on."""
