"""Networks that look at an image, for losses, metrics and tasks alike: faces, features, edges, parts, attributes."""
