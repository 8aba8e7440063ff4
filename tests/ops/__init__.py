"""What the service hands to those who watch it over."""
