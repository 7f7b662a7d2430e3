"""What the commands do: promote, predict, benchmark, export, models, inbox, ui."""
