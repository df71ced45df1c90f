"""What every request passes before its route: who may come in, how many, by which path."""
