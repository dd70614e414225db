"""Finds a model and reads what it is: in the catalogue, in a folder, on the Hub."""
