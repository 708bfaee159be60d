"""The REST API as a process of its own: it asks the core over the admin socket, and has no database and no vSphere account."""
