"""Linux as the agent sees it: the only place that runs commands, mounts, or knows what a block device is."""
