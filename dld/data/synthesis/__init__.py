"""synthwords: scene-text-like images with exact word polygons, rendered on the fly."""
