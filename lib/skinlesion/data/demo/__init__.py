"""The built-in demo data set: drawn dermatoscopic images, and pictures that are not dermatoscopic."""
