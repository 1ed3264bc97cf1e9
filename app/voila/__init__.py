"""The Voila view: the page's results inside a notebook, with sliders that change the image."""
