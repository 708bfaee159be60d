"""The `vmdkvol` command: the sandbox, volumes as the service sees them, explanations, the doctor."""
