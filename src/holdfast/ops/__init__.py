"""Pure tensor functions: balls, losses, transforms, statistics. They know nothing of the rest."""
