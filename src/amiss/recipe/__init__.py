"""What a method is before it is fitted: settings, a scorer to build, stages to train it."""
