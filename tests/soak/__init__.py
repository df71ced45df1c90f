"""A thousand random jobs with everything going wrong at once: python -m tests.soak --jobs 1000."""
