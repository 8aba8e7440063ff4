"""The REST routes, a file a resource. Thin: authenticate, call one function, return a schema."""
