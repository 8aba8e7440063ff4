"""Tables made from measured rows, and the documents they stand in."""
