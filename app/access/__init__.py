"""Who may do what: API keys, their scopes and limits, and the record of what was done. Knows no HTTP."""
