"""Speed and cost, measured as ratios inside one run. `make bench` prints them; no test asserts a time."""
