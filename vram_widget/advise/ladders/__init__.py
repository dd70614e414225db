"""Changes by kind, each kind a ladder: from the least that is changed to the most."""
