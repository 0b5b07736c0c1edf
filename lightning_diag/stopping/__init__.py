"""The stopping criterion: plain numbers in, decision and reason out."""
