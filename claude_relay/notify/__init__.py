"""Notification of workers about ready jobs, from the process that accepted them."""
