"""Getting bytes from elsewhere: HTTP, registries and the credentials for them."""
