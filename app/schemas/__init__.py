"""What goes over the wire: one pydantic class a body, strict about types. Knows no database and no tensors."""
