"""Values and decisions. Pure: the standard library only, no I/O, no clock, no logging."""
