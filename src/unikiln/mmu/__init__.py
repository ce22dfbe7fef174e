"""Translation tables, faults and syndromes: a model of the Arm architecture's address translation."""
