"""What is installed: found, described, remembered, brought and removed."""
