"""The builder of a RunHistory: the only mutable object of the judgement side."""
