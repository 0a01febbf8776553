"""How word of a ready job travels from the process that accepted it to a worker."""
