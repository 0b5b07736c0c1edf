"""From a RunHistory to a Diagnosis."""
