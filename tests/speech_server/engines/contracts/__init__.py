"""What the engines of a kind keep to, whatever library they are made of. A new engine adds a line to its CASES."""
