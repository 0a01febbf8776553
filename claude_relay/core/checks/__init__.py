"""Rules that a parsed answer must satisfy (`options.checks`): their language, and their evaluation."""
