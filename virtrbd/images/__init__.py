"""Work on images: created, cloned, changed, removed, repaired, transferred; and who uses them."""
