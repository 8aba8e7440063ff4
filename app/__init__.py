"""The web service: settings, database tables, repositories, routers, schemas, and the `milp` command. Thin."""
