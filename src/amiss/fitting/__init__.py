"""From a recipe and normal images to a fitted model, step by step."""
