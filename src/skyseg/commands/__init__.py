"""What the other commands do: promote, predict, benchmark, export."""
