"""JSON Schemas as callers write them: their keywords, and values that only look like one."""
