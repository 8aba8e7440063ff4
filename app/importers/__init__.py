"""Importers: files in the formats people have, turned into users with samples, and what could not be used.

`formats` has the table of them; each other module is one format, or a part that several share. All are pure functions
of the files' content. Must not know HTTP, the database, the command line or torch.
"""
