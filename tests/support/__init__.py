"""Building blocks for the integration tests: real servers on free loopback ports, driven by methods named as verbs."""
