"""Work on images: create, clone, change, remove, repair, transfer; and which domains use an image."""
