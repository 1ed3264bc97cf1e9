"""The page that runs in the browser: its JavaScript, and the program that builds it."""
