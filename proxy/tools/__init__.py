"""Commands that serve people and not requests; each is loaded only when it is run."""
