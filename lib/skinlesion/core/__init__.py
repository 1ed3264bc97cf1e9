"""What all other packages use: errors, images, labels, configuration, runs, storage."""
