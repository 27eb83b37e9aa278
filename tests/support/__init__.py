"""Real parts for the integration tests, spoken to in verbs, all on free loopback ports."""
