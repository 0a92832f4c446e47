"""How a run happens: the loop, the schedule, one step's attempts, and their outcomes. Internal."""
