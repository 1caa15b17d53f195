"""A page in the browser: photographs in, photographs out, by the models that come with the package.

`studio` does what the page shows and knows nothing of it; `page` and `tabs` lay it out with Gradio; `server` serves it.
"""
