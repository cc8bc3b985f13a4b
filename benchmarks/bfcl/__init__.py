"""Function-calling accuracy of a model behind the worker's own prompt, on the Berkeley Function Calling Leaderboard."""
