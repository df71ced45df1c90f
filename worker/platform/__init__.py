"""What is corrected in runpod 1.12's job loop: taking jobs, stopping, delivering results."""
