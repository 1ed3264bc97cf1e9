"""The three front ends: ``web`` (page and API), ``voila`` (notebook view), ``device`` (runs in the browser).

What they share stands here: wording (``present``), pictures, headers, templates and static files.
"""
