"""The only home of the training library; imported only when something is fitted."""
