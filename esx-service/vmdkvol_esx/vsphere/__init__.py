"""vCenter or one ESXi host through its API. Nothing of it is reachable yet: no setting names a vSphere endpoint."""
